"""Sections as HTML: one file that holds its pictures and its style, runs no script and asks nothing of any other host.

Whatever comes from data, texts and labels among it, becomes text: every value is escaped, and the page's own policy forbids
scripts besides.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from markupsafe import Markup

import trunkline
from trunkline.pages.rendering import OWN, html
from trunkline.pages.section import Cell, Grid, Picture, Section, Table

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
LONG = 40  # characters from which on a cell may be broken into lines
LONGEST = 600  # characters of a cell that the page shows; its file has all
WIDE = 720  # pixels: a wider picture is scrolled sideways where there is no room, as its letters would be too small

Images = Mapping[str, tuple[bytes, float]]  # by name, a PNG and its width in inches


def page(heading: str, facts: Sequence[tuple[str, str]], sections: Sequence[Section], images: Images) -> str:
    """The page of sections.

    Args:
        heading: in large letters.
        facts: names and values.
        sections: in order; those that have nothing to show are listed at the end, each with its note.
        images: of their pictures, by the names of their numbers.
    """
    shown = [_laid(section, images) for section in sections if not section.left_out]
    left = [section for section in sections if section.left_out]
    return _document("page.html.j2", heading, facts=facts, shown=shown, left=left)


def index_page(heading: str, rows: Sequence[tuple[str, str, str]]) -> str:
    """A page that leads to others.

    Args:
        heading: in large letters.
        rows: for each its name, the address of its page, and what is to be said of it.
    """
    return _document("index.html.j2", heading, rows=rows)


def number(value: float | None) -> str:
    """A number as tables show it."""
    if value is None:
        return "\u2013"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4f}" if value == 0 or 0.001 <= abs(value) < 1000 else f"{value:.4g}"


@dataclass(frozen=True)
class _Shown:
    """A cell with its classes."""

    text: str
    number: bool
    kind: str
    strong: bool = False
    mark: str = ""
    below: str = ""


def _document(template: str, heading: str, **values: Any) -> str:
    style = Markup(files(OWN).joinpath("page.css").read_text(encoding="utf-8"))
    given = {"heading": heading, "policy": POLICY, "style": style, "version": trunkline.__version__, **values}
    return html().get_template(template).render(given)


def _laid(section: Section, images: Images) -> dict[str, Any]:
    return {
        "title": section.title,
        "note": section.note,
        "sentences": section.sentences,
        "grids": [_laid_grid(grid, section.title, *said) for grid, said in zip(section.grids, said_once(section), strict=True)],
        "pictures": [_laid_picture(one, *images[one.numbers.name]) for one in section.pictures],
        "tables": [_laid_table(table, section.title) for table in section.tables if table.shown],
        "listings": section.listings,
    }


def _laid_picture(picture: Picture, image: bytes, inches: float) -> dict[str, Any]:
    width, numbers = round(96 * inches), picture.numbers
    return {
        "name": numbers.name,
        "width": width,
        "wide": width > WIDE,
        "alt": picture.alt,
        "data": base64.b64encode(image).decode("ascii"),
        "caption": numbers.caption,
        "numbers": _laid_table(numbers, picture.alt) if numbers.shown and numbers.rows else None,
    }


def _laid_table(table: Table, title: str) -> dict[str, Any]:
    """A table as the template has it; of one with texts, every cell has the name of its column, for narrow pages."""
    columns = list(zip(*table.rows, strict=True)) or [()] * len(table.columns)
    numeric = [all(value is None or isinstance(value, int | float) for value in values) for values in columns]
    rows = [
        [
            Cell(number(value) if one else "" if value is None else str(value), number=one)
            for value, one in zip(row, numeric, strict=True)
        ]
        for row in table.rows[: table.shown]
    ]
    heads = [Cell(name, number=one) for name, one in zip(table.columns, numeric, strict=True)]
    laid = _laid_rows(heads, rows)
    more = max(len(table.rows) - table.shown, 0)
    return {
        **laid,
        "label": table.caption or title,
        "caption": heading_below(table.caption, title),
        "name": table.name,
        "more": more,
        "legend": (),
    }


def heading_below(caption: str, title: str) -> str:
    """The heading of a table in a section: none where it would be that of the section again."""
    return "" if caption == title else caption


def said_once(section: Section) -> list[tuple[Sequence[str], str]]:
    """Of each grid the legend and the file that are written with it: not those that the one before or the next has, too."""
    grids = section.grids
    legends = [() if place and one.legend == grids[place - 1].legend else one.legend for place, one in enumerate(grids)]
    names = [one.numbers.name for one in grids]
    kept = [name if name not in names[place + 1 : place + 2] else "" for place, name in enumerate(names)]
    return list(zip(legends, kept, strict=True))


def _laid_grid(grid: Grid, title: str, legend: Sequence[str], name: str) -> dict[str, Any]:
    columns = list(zip(*grid.rows, strict=True)) or [()] * len(grid.columns)
    heads = [
        Cell(name, number=bool(cells) and all(cell.number for cell in cells))
        for name, cells in zip(grid.columns, columns, strict=True)
    ]
    about = {"label": grid.caption or title, "caption": heading_below(grid.caption, title), "name": name, "legend": legend}
    return {**_laid_rows(heads, grid.rows), **about, "kind": "grid", "more": 0}


def _laid_rows(heads: Sequence[Cell], rows: Sequence[Sequence[Cell]]) -> dict[str, Any]:
    texts = any(len(cell.text) > LONG and not cell.number for row in rows for cell in row)
    names = [head.text if texts else "" for head in heads]
    return {
        "heads": heads,
        "kind": "texts" if texts else "",
        "rows": [list(zip(map(_shown, row), names, strict=True)) for row in rows],
    }


def _shown(cell: Cell) -> _Shown:
    text = cell.text if len(cell.text) <= LONGEST else f"{cell.text[:LONGEST]}…"
    return _Shown(text, cell.number, " ".join(_kinds(cell)), cell.strong, cell.mark, cell.below)


def _kinds(cell: Cell) -> Iterator[str]:
    if cell.number:
        yield "number"
    elif len(cell.text) > LONG:
        yield "long"
