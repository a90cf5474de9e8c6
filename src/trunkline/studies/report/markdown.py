"""The main tables as Markdown (GitHub's, with tables), every value escaped."""

from __future__ import annotations

import re
from collections.abc import Sequence

from trunkline.pages.page import heading_below, said_once
from trunkline.pages.rendering import Raw, plain, printable
from trunkline.pages.section import Cell, Grid, Picture, Section, Table

_SPECIAL = re.compile(r"[\\`*_{}\[\]<>|~&$#!@]|:(?=//)|(?<=www)\.")  # the last two: addresses become links in GitHub's
_OPENING = re.compile(r"^(?:\d{1,9}(?=[.)](?:\s|$))|(?=[-+](?:\s|$))|(?=[-=][-=\s]*$))")  # of a list, or a line under a heading


def markdown(heading: str, facts: Sequence[tuple[str, str]], sections: Sequence[Section]) -> str:
    """The page's sections as Markdown: sentences, tables that are set for people, and pictures, which lie beside it."""
    environment = plain("trunkline.studies.report", escaped)
    shown = [section for section in sections if section.grids or section.sentences or section.title in ALSO]
    given = {"heading": heading, "facts": facts, "raw": Raw}
    given["sections"] = [_laid(section) for section in shown if not section.left_out]
    return environment.get_template("report.md.j2").render(given)


ALSO = ("Failed runs", "Data", "Versions and hardware")  # sections whose plain tables are shown, too


def escaped(text: str) -> str:
    """A text in which nothing means anything to Markdown or HTML, on one line."""
    flat = re.sub(r"\s+", " ", printable(text)).strip()
    return _OPENING.sub(lambda match: match[0] + "\\", _SPECIAL.sub(lambda match: "\\" + match[0], flat))


def _laid(section: Section) -> dict[str, object]:
    tables = [_laid_table(table) for table in section.tables if table.shown and section.title in ALSO]
    return {
        "title": section.title,
        "note": section.note,
        "sentences": section.sentences,
        "grids": [_laid_grid(grid, section.title, *said) for grid, said in zip(section.grids, said_once(section), strict=True)]
        + tables,
        "pictures": [_laid_picture(picture) for picture in section.pictures],
    }


def _laid_grid(grid: Grid, title: str, legend: Sequence[str], name: str) -> dict[str, object]:
    numeric = [all(row[place].number for row in grid.rows) for place in range(len(grid.columns))]
    return {
        "caption": heading_below(grid.caption, title),
        "columns": grid.columns,
        "lines": [Raw("---:" if one else ":---") for one in numeric],
        "rows": [[_cell(cell) for cell in row] for row in grid.rows],
        "legend": legend,
        "name": name,
    }


def _laid_table(table: Table) -> dict[str, object]:
    rows = [["" if value is None else str(value) for value in row] for row in table.rows[: table.shown]]
    lines = [Raw(":---")] * len(table.columns)
    return {"caption": table.caption, "columns": table.columns, "lines": lines, "rows": rows, "legend": (), "name": table.name}


def _laid_picture(picture: Picture) -> dict[str, object]:
    return {"alt": picture.alt, "name": picture.numbers.name, "caption": picture.numbers.caption}


def _cell(cell: Cell) -> Raw:
    text = escaped(cell.text)
    text = f"**{text}**" if cell.strong and text.strip() else text
    below = "; ".join(map(escaped, cell.lines))
    return Raw(f"{text}{escaped(cell.mark)}" + (f" ({below})" if below else ""))
