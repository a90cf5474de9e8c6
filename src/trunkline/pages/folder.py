"""The folder of a page: the page, its pictures and tables as files, and which folder may be written."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

from trunkline.data.writing.separated import Separated
from trunkline.errors import BadInput
from trunkline.files import read_object, refuse_long
from trunkline.pages.page import page
from trunkline.pages.section import Picture, Section, Table
from trunkline.pictures.figure import DPI

PAGE = "index.html"


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        heading: in large letters.
        facts: what it is about, as names and values.
        sections: in order.
    """

    heading: str
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section]

    def files(self) -> dict[str, bytes]:
        """The content of its files by name: the page, a CSV file for each table, a PNG and a CSV file for each picture."""
        found: dict[str, bytes] = {}
        images: dict[str, tuple[bytes, float]] = {}
        for section in self.sections:
            for picture in section.pictures:
                images[picture.numbers.name] = _png(picture), picture.figure.get_figwidth()
            for table in section.files:
                if (name := f"{table.name}.csv") in found:
                    raise ValueError(f"two tables are called {table.name}")
                found[name] = _csv(table)
        found |= {f"{name}.png": image for name, (image, _) in images.items()}
        written = page(self.heading, self.facts, self.sections, images)
        return {PAGE: written.encode("utf-8"), **found}


def folder_to_write(path: Path, command: str, record: str) -> Path:
    """Return `path` in full if it can be written, and all that lies there was written by a command before.

    Args:
        path: as a user names it.
        command: that writes it, as messages name it.
        record: file in it whose `files` are those that the command has written.

    Raises:
        BadInput: otherwise.
    """
    refuse_long(path, "the folder")
    full = path.expanduser().resolve()
    parent = next(folder for folder in full.parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise BadInput(f"{path}: {parent} is no folder that can be written into; expected a place for a new folder")
    if full.exists() and not full.is_dir():
        raise BadInput(f"{path}: is a file; expected a new or empty folder")
    there = {str(file.relative_to(full)) for file in full.rglob("*") if not file.is_dir()} if full.exists() else set()
    if not there:
        return full
    if record not in there:
        raise BadInput(f"{path}: is not empty; expected a new or empty folder, or one that `{command}` has written")
    written = read_object(full / record).get("files")
    others = sorted(there - {record, *(written if isinstance(written, list) else ())})
    if others:
        raise BadInput(
            f"{path}: holds {others[0]!r}, which `{command}` has not written; expected a new or empty folder, or one "
            "with nothing else in it"
        )
    return full


def _png(picture: Picture) -> bytes:
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "trunkline"}):
        picture.figure.savefig(file, format="png", dpi=DPI)
    return file.getvalue()


def _csv(table: Table) -> bytes:
    file = io.BytesIO()
    rows: list[dict[str, Any]] = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    if rows:
        Separated(file, ",").write(rows, {})
    else:
        file.write((",".join(table.columns) + "\n").encode("utf-8"))
    return file.getvalue()
