"""Formats that rows are written in, a file each: which suffixes a format has, and how rows become its bytes."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from trunkline.errors import BadInput, unknown_name
from trunkline.registry import Registry

Cells = Mapping[str, Any]  # a row by column


class Bytes(Protocol):
    """What rows are written into: a binary file, or a stream."""

    def write(self, data: bytes, /) -> int: ...

    def flush(self) -> None: ...


class Writer(Protocol):
    """Writes rows to a file, some at a time; the first ones set the columns of a format that has any."""

    def write(self, rows: Sequence[Cells], types: Mapping[str, Any]) -> None:
        """Write rows; `types` are the Arrow types of the columns that have one. BadInput for what the format cannot hold."""

    def close(self) -> None:
        """Write what ends the file."""


@dataclass(frozen=True)
class OutputFormat:
    """A way to write rows.

    name (str): as a user asks for it.
    suffixes (tuple[str, ...]): lower-case file suffixes, dot included.
    open (Callable[[Bytes], Writer]): the writer of a file.
    flat (bool): whether it holds a table, so that each part of a prediction is a column of its own.
    text (bool): whether it is text, which may go to a terminal, and be compressed by gzip.
    lists (bool): whether a value may be a list; otherwise lists are written as text.
    lf (bool): whether every line end in a text becomes LF, as in XML.
    tagged (bool): whether it holds nothing but the words of texts, `tokens`, and their tags, `tags`.
    """

    name: str
    suffixes: tuple[str, ...]
    open: Callable[[Bytes], Writer]
    flat: bool
    text: bool
    lists: bool
    lf: bool = False
    tagged: bool = False


writers: Registry[OutputFormat] = Registry("output format", __name__)


@dataclass(frozen=True)
class Chosen:
    """An output format, and whether its bytes are compressed."""

    form: OutputFormat
    gzipped: bool

    @contextmanager
    def writer(self, file: Bytes) -> Iterator[Writer]:
        """Yield a writer into `file`, which stays open; the end of the file is written only where all went well."""
        packed = gzip.GzipFile(filename="", fileobj=cast(Any, file), mode="wb", mtime=0) if self.gzipped else None
        writer = self.form.open(packed or file)
        try:
            yield writer
        except BaseException:
            with suppress(Exception):  # it frees what it holds; the file is thrown away
                writer.close()
            raise
        writer.close()
        if packed is not None:
            packed.close()


def output_format(path: Path | None, named: str | None) -> Chosen:
    """Return the format that a user names, or else that of the suffix; JSON lines where there is neither.

    Raises:
        BadInput: an unknown name or suffix, or a format that needs a file.
    """
    name = "" if path is None else path.name.lower()
    gzipped = name.endswith(".gz")
    suffix = Path(name.removesuffix(".gz")).suffix
    known = [writers.get(one) for one in writers.names()]
    if named is not None:
        if named not in writers.names():
            raise unknown_name("--format", named, writers.names())
        form = writers.get(named)
    elif path is None or (not suffix and not gzipped):
        form = writers.get("jsonl")
    elif not (found := [form for form in known if suffix in form.suffixes]):
        raise BadInput(f"{path}: unknown suffix {Path(name).suffix!r}, expected one of {', '.join(output_suffixes())}")
    else:
        form = found[0]
    if not form.text and path is None:
        raise BadInput(f"found --format {form.name} and no --output, expected a file")
    if gzipped and not form.text:
        raise BadInput(f"{path}: {form.name} is compressed by itself, expected a name that ends in {form.suffixes[0]}")
    return Chosen(form, gzipped)


def output_suffixes() -> list[str]:
    """Every suffix that some format is written under, ``.gz`` forms included, sorted."""
    known = [writers.get(name) for name in writers.names()]
    return sorted({suffix + gz for form in known for suffix in form.suffixes for gz in (("", ".gz") if form.text else ("",))})
