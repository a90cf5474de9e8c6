"""Which format a file has: by its suffix, by its first lines, or none that can be read, with what would work instead."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from trunkline.data.formats import Format, format_of, formats
from trunkline.data.formats.conll_layout import is_headless
from trunkline.data.reading.lines import read_lines
from trunkline.data.reading.opened import COMPRESSED, ZIP, member_name
from trunkline.data.reading.tolerant import Tolerant
from trunkline.errors import BadInput

LOOKED_AT = 50  # lines
TEXT = ".txt"

_SHEET = "save the sheet as .xlsx or as CSV UTF-8"
_UNPACK = "unpack it and name the file"
_FRAME = "read it with pandas and save it as Parquet or CSV"
_PICKLE = "a pickle may run code when it is read, so none is; save the data as Parquet or CSV"
_MARKUP = "save the texts with their labels as JSON lines or CSV"
# Suffixes that people have, and the nearest thing that would work.
UNREAD = {
    ".xls": _SHEET, ".xlsb": _SHEET, ".ods": _SHEET, ".numbers": _SHEET,
    ".pkl": _PICKLE, ".pickle": _PICKLE, ".joblib": _PICKLE, ".pt": _PICKLE, ".bin": _PICKLE, ".npy": _FRAME, ".npz": _FRAME,
    ".xml": _MARKUP, ".html": _MARKUP, ".htm": _MARKUP, ".docx": _MARKUP, ".doc": _MARKUP, ".pdf": _MARKUP, ".rtf": _MARKUP,
    ".ann": "convert brat's annotations to JSON lines with spans [{start, end, label}]",
    ".tar": _UNPACK, ".tgz": _UNPACK, ".7z": _UNPACK, ".rar": _UNPACK,
    ".orc": _FRAME, ".h5": _FRAME, ".hdf5": _FRAME, ".dta": _FRAME, ".sav": _FRAME, ".sas7bdat": _FRAME, ".rds": _FRAME,
    ".db": "export the table as CSV", ".sqlite": "export the table as CSV", ".sql": "export the table as CSV",
}  # fmt: skip
# How files begin that are not the text that their suffix promises.
_MAGIC = (
    (b"PK\x03\x04", "an Excel workbook or a zip archive; rename it to .xlsx or .zip"),
    (b"\xd0\xcf\x11\xe0", f"a workbook of older Excel; {_SHEET}"),
    (b"PAR1", "a Parquet file; rename it to .parquet"),
    (b"ARROW1", "an Arrow file; rename it to .arrow"),
    (b"\x1f\x8b", "a gzip file; add .gz to its name"),
    (b"\x28\xb5\x2f\xfd", "a zstandard file; add .zst to its name"),
    (b"BZh", "a bzip2 file; add .bz2 to its name"),
    (b"%PDF", f"a PDF; {_MARKUP}"),
)


def format_for(path: Path, source: str, name: str | None = None, otherwise: str | None = None) -> Format:
    """Return the format to read a file in.

    Args:
        path (Path): an existing file.
        source (str): how messages name it.
        name (str | None): the format, where the user says it.
        otherwise (str | None): the format of a .txt file whose first lines are of no other.

    Raises:
        BadInput: none that can be read, with what would work.
    """
    known = formats.get(name, source, "format") if name is not None else format_of(path)
    if known is None and path.suffix.lower() == ZIP:
        known = format_of(Path(member_name(path, source)))
    if known is not None and known.compressed and path.suffix.lower() not in (*COMPRESSED, ZIP):
        with open(path, "rb") as file:
            start = file.read(8)
        if found := next((what for magic, what in _MAGIC if start.startswith(magic)), None):
            raise BadInput(f"{source}: is {found}")
    if known is not None:
        begins_with_names = name is None and known in (formats.get("csv"), formats.get("tsv"))
        return formats.get("conll") if begins_with_names and is_headless(_head(path, source)) else known
    if hint := UNREAD.get(path.suffix.lower()) or (".tar." in path.name.lower() and _UNPACK):
        raise BadInput(f"{source}: files with the suffix {path.suffix!r} are not read; {hint}")
    return _by_content(path, source, otherwise)


def _by_content(path: Path, source: str, otherwise: str | None) -> Format:
    unknown = f"unknown suffix {''.join(path.suffixes[-2:])!r}"
    suffixes = ", ".join(suffix for name in formats.names() for suffix in formats.get(name).suffixes)
    expected = f"expected one of {suffixes}; or name its format (--format, data.format): {', '.join(formats.names())}"
    lines = _head(path, source)
    if not lines:
        raise BadInput(f"{source}: {unknown}, and it is no text in UTF-8; {expected}")
    for known in map(formats.get, formats.names()):
        if known.content is not None and known.content(lines):
            return known
    if lines[0].startswith("__label__"):
        raise BadInput(f"{source}: lines as fastText reads them are not read; write each as label, tab, text below a header")
    if otherwise is not None and path.suffix.lower() == TEXT:
        return formats.get(otherwise)
    hint = "; only `trunkline predict` reads one text per line" if path.suffix.lower() == TEXT else ""
    raise BadInput(f"{source}: {unknown}, {expected}{hint}")


def _head(path: Path, source: str) -> list[str]:
    """The first lines; none where they are no text."""
    try:
        return [line for _, line in islice(read_lines(path, source, tolerant=Tolerant()), LOOKED_AT)]
    except BadInput:
        return []


def unread_suffix(name: str) -> bool:
    """Whether a name ends like that of a file, though of one that is not read or is known by its contents."""
    return Path(name).suffix.lower() in {*UNREAD, *COMPRESSED, ZIP, TEXT}
