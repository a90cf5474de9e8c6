"""Where data comes from: an embedded set, files, a folder saved by `datasets`, or a data set of the Hugging Face hub."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from trunkline.data.formats import Format, format_of, formats
from trunkline.data.formats.annotations.prodigy import accepted
from trunkline.data.formats.conll_tags import with_prefixed_tags
from trunkline.data.formats.parquet import arrow_columns
from trunkline.data.formats.recognise import format_for, unread_suffix
from trunkline.data.memory import refuse_mark
from trunkline.data.reading.tolerant import Tolerant
from trunkline.data.sentences import in_sentences, is_token_per_row
from trunkline.data.table import Table, concatenate, with_rows
from trunkline.data.values.spans import with_spans
from trunkline.errors import BadInput, listed, unknown_name
from trunkline.files import refuse_long

EMBEDDED = Path(__file__).parent / "embedded"  # a folder a set, a <split>.jsonl.gz a split, and its licence
HEAD = 2000  # rows from which it is told whether each is a token
_HUB = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(:(?P<split>[\w.-]+))?(@(?P<revision>[\w./-]+))?")


def embedded_names() -> list[str]:
    """The data sets that are part of the package, sorted."""
    return sorted(folder.name for folder in EMBEDDED.iterdir() if any(folder.glob("*.jsonl.gz")))


def locate(source: str, base: Path) -> str:
    """Return `source` with its path made absolute, if it is one; names of embedded sets and hub ids stay as they are."""
    folder, colon, split = source.rpartition(":")
    if source.partition(":")[0] in embedded_names():
        return source
    path = base / Path(source).expanduser()
    if colon and not path.exists() and (base / Path(folder).expanduser()).exists():
        return f"{(base / Path(folder).expanduser()).resolve()}:{split}"
    return str(path.resolve()) if path.exists() or _looks_like_path(source) else source


def read_table(source: str | list[str], *, base: Path = Path("."), format: str | None = None) -> Table:
    """Read a source whole.

    Args:
        source (str | list[str]): one of, in this order,
            ``"snips"`` or ``"snips:test"``: an embedded set, its train split or the one named (a file of that name is
            ``"./snips"``); a path to a file in one of the formats of formats/; a folder saved by `datasets`, with ``:split``
            where it has splits; a workbook with ``:sheet``; ``"owner/name[:split][@revision]"`` on the hub.
            A list of these is read as one; all must have the same columns.
        base (Path): what relative paths are relative to.
        format (str | None): of the files, where their suffix does not say it.

    Returns:
        Table: spans in the spelling of columns.py, tables with a token a row as sentences, tags with prefixes; its findings
        say what was left out, merged or changed.

    Raises:
        BadInput: nothing of that name, no row in it, or whatever its format finds broken.
    """
    if isinstance(source, list):
        if not source:
            raise BadInput("source: an empty list found, expected at least one path")
        return concatenate([read_table(one, base=base, format=format) for one in source])
    return with_prefixed_tags(with_spans(with_rows(accepted(_whole(source, base, format)))))


def _whole(source: str, base: Path, format: str | None, as_given: bool = False) -> Table:
    table = with_rows(_read(source, base, format))
    return in_sentences(table, as_given) if is_token_per_row(table) else table


def read_chunks(
    source: str,
    size: int,
    *,
    base: Path = Path("."),
    format: str | None = None,
    otherwise: str | None = None,
    tolerant: Tolerant | None = None,
) -> Iterator[Table]:
    """Read a source at most `size` rows at a time, so that a file of any size takes little memory.

    A source that is no file (an embedded set, a saved folder, the hub) and a table with a token a row are read whole and handed
    out in pieces. What was noted while reading is among the findings of the last piece, or of each where it was read whole.
    Columns are as they stand in the source, spans and tags of other spellings too: these rows are to be
    predicted and passed through.

    Args:
        source: as of `read_table`, likewise `base` and `format`.
        size: rows of a table, at most.
        otherwise: the format of a .txt file whose first lines are of no other.
        tolerant: where it is given, rows that cannot be read are left out, as the `unread` ones of their table, if the format
            can tell where the next row begins. It is told how much has been read.

    Raises:
        BadInput: as `read_table`, when the piece that is broken is reached.
    """
    path = base / Path(source).expanduser()
    if source.partition(":")[0] in embedded_names() or not path.is_file() or path.stat().st_size == 0:
        yield from _pieces(_whole(source, base, format, as_given=True), size, tolerant)
        return
    try:
        known, rows = format_for(path, source, format, otherwise), 0
        if is_token_file(known, path, source):
            yield from _pieces(_whole(source, base, format, as_given=True), size, tolerant)
            return
        if tolerant is not None and known.count is not None:
            with suppress(Exception):  # what is wrong with the file is said where it is read
                tolerant.rows = known.count(path)
        if tolerant is not None and known.tolerant is not None:
            found = known.tolerant(path, source, size, tolerant)
        else:
            found = known.chunks(path, source, size)
        for table in found:
            rows += len(table) + len(table.unread)
            yield table
    except OSError as error:
        raise _unreadable(source, error) from None
    if not rows:
        _whole(source, base, format)  # raises, with what was noted


def is_token_file(known: Format, path: Path, source: str) -> bool:
    """Whether a file has a token a row, so that it is read whole."""
    try:
        head = next(known.chunks(path, source, HEAD), None)
    except BadInput:
        return False  # it is raised again by the piece that it is in
    return head is not None and is_token_per_row(head)


def _pieces(table: Table, size: int, tolerant: Tolerant | None) -> Iterator[Table]:
    if tolerant is not None:
        tolerant.rows = len(table)
    for start in range(0, len(table), size):
        yield table.select(range(start, min(start + size, len(table))))


def _unreadable(source: str, error: OSError) -> BadInput:
    return BadInput(f"{source}: cannot be read ({error.strerror or error}), expected a readable file")


def _read(source: str, base: Path, format: str | None) -> Table:
    refuse_mark(source)
    path = base / Path(source).expanduser()
    refuse_long(path)
    name, _, split = source.partition(":")
    if name not in embedded_names() and path.is_file():
        return _file(path, source, format)
    if format is not None:
        formats.get(format, source, "format")
        found = "an embedded data set" if name in embedded_names() else "no file of that name"
        raise BadInput(f"{source}: found {found} with the format {format!r}, expected a file")
    if name in embedded_names():
        return _embedded(name, split or "train")
    folder, colon, split = source.rpartition(":")
    folder, split = (folder, split) if colon else (source, "")
    path = base / Path(folder).expanduser()
    if path.is_dir():
        return _saved(path, folder, split)
    if path.is_file() and (known := format_of(path)) is not None and known.part is not None:
        return known.part(path, source, split)
    if path.is_file():
        raise BadInput(f"{source}: a file has no splits, found {split!r} after its name, expected the name alone")
    match = _HUB.fullmatch(source)
    if match and not _looks_like_path(match["name"]):
        return _hub(source, **match.groupdict())
    if match or _looks_like_path(source):
        raise BadInput(f"{source}: no such file{_nearest_file(source, base / Path(source).expanduser())}")
    if re.fullmatch(r"\d{1,2}", source):
        raise BadInput(f"{source}: no such file or folder; a share of the rows is written {source}%")
    near = _near_files(base / Path(source).expanduser()) or difflib.get_close_matches(name, embedded_names(), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"expected {', '.join(embedded_names())}, a path, or owner/name of the hub"
    raise BadInput(f"{source}: no such embedded data set, file or folder; {hint}")


def _embedded(name: str, split: str) -> Table:
    splits = sorted(file.name.removesuffix(".jsonl.gz") for file in (EMBEDDED / name).glob("*.jsonl.gz"))
    if split not in splits:
        raise unknown_name(f"{name}: split", split, splits, whole=True)
    return _file(EMBEDDED / name / f"{split}.jsonl.gz", f"{name}:{split}")


def _file(path: Path, source: str, format: str | None = None) -> Table:
    if path.stat().st_size == 0:
        raise BadInput(f"{source}: the file is empty, expected at least one row")
    try:
        return format_for(path, source, format).read(path, source)
    except OSError as error:
        raise _unreadable(source, error) from None


def _looks_like_path(source: str) -> bool:
    if source.startswith((".", "/", "~")) or source.count("/") > 1 or "\\" in source:
        return True
    return format_of(Path(source)) is not None or unread_suffix(source)


def _nearest_file(source: str, path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f", and no folder {str(folder)!r} either"
    if not (near := _near_files(path)):
        return f" in {str(folder)!r}"
    typed = near[0] if Path(source).is_absolute() else str(Path(source).with_name(near[0]))
    return f"; did you mean {typed!r}?"


def _near_files(path: Path) -> list[str]:
    """The name of what lies beside `path` and is called almost like it; a suffix alone makes no two names alike."""
    try:
        names = [file.name for file in path.parent.iterdir() if not file.name.startswith(".")]
    except OSError:
        return []
    stems = {name.split(".")[0].casefold() for name in names}
    stem = difflib.get_close_matches(path.name.split(".")[0].casefold(), stems, n=1, cutoff=0.65)  # one letter of three
    alike = [name for name in names if stem and name.split(".")[0].casefold() == stem[0]]
    return difflib.get_close_matches(path.name, alike, n=1, cutoff=0.0)


def _saved(path: Path, source: str, split: str) -> Table:
    if not any((path / mark).is_file() for mark in ("state.json", "dataset_dict.json")):
        found = sorted(file.name for file in path.iterdir() if format_of(file) is not None)
        there = f"; it holds {listed(found, 5, whole=True)}, of which one or a list can be named" if found else ""
        raise BadInput(
            f"{source}: not a folder saved by `datasets`, expected a file or a folder written by save_to_disk{there}"
        )
    import datasets

    try:
        loaded = datasets.load_from_disk(str(path))
    except Exception as error:
        raise BadInput(f"{source}: the saved data set cannot be read ({_first_line(error)}), expected a complete one") from None
    if isinstance(loaded, datasets.DatasetDict):
        split = split or "train"
        if split not in loaded:
            raise unknown_name(f"{source}: split", split, loaded, whole=True)
        return _arrow(loaded[split], f"{source}:{split}")
    if split:
        raise BadInput(f"{source}: this saved data set has no splits, found {split!r} after its name, expected the name alone")
    return _arrow(loaded, source)


def _hub(source: str, name: str, split: str | None, revision: str | None) -> Table:
    import datasets

    try:
        loaded = datasets.load_dataset(name, split=split or "train", revision=revision)  # since 4.0 it runs no remote code
    except Exception as error:  # the library raises two dozen kinds, from the network's to a wrong split's
        raise BadInput(
            f"{source}: no such file, and the hub data set could not be loaded ({_first_line(error)}), expected a path, or "
            "owner/name[:split][@revision] of a data set that can be reached"
        ) from None
    return _arrow(loaded, source)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__


def _arrow(dataset: Any, source: str) -> Table:
    columns, types = arrow_columns(dataset.with_format("arrow")[:])
    return Table(source, columns, types=types)
