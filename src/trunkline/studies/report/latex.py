"""Tables for a paper: LaTeX with booktabs, every value escaped; the best is bold, marks have a legend under the table.

A file per table, to be read with \\input, and all.tex, a document of all of them. They compile with pdfLaTeX and
XeLaTeX; characters that pdfLaTeX's fonts do not have (beyond those of the T1 encoding) are written as code points there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from trunkline.pages.rendering import Raw, plain, printable
from trunkline.pages.section import Cell, Grid

FOLDER, ALL = "latex", "all.tex"
WORDY = 40  # characters of a cell from which on its column is broken into lines
LONG = 30  # rows from which on a table may be broken over pages
KNOWN = frozenset(  # that the T1 encoding has
    "\u201c\u201d\u2018\u2019\u201e\u201a«»\u2039\u203a¡¿£§ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõöøùúûüýþÿŒœĂăĄąĆćČčĎďĐđĘęĚěĞğİıĹĺĽľŁłŃńŇňŐőŔŕŘřŚśŞşŠšŢţŤťŮůŰűŸŹźŻżŽž"
)
_COMMANDS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "^": r"\textasciicircum{}",
    "_": r"\_", "%": r"\%", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    '"': r"\textquotedbl{}", "'": r"\textquotesingle{}", "`": r"\textasciigrave{}", "[": "{[}", "]": "{]}",
    "±": r"$\pm$", "†": r"$\dagger$", "\u2212": r"$-$", "\u2013": "--", "—": "---", "…": r"\ldots{}", "\u00d7": r"$\times$",
}  # fmt: skip
BREAK = r"\\[-2pt]\scriptsize "  # between lines below a number
_LIGATURE = re.compile("(?<=-)(?=-)|(?<=,)(?=,)")


def latex(tables: Mapping[str, Grid]) -> dict[str, bytes]:
    """Files of LaTeX by name: one for each table, and `all.tex`.

    Args:
        tables: by name of the file, without ".tex"; of lower-case letters, digits and "_".
    """
    if not tables:
        return {}
    environment = plain("trunkline.studies.report", escaped, **MARKS)
    found = {
        f"{name}.tex": environment.get_template("table.tex.j2").render(_laid(name, grid)) + "\n"
        for name, grid in tables.items()
    }
    found[ALL] = environment.get_template("all.tex.j2").render({"names": [Raw(name) for name in tables]})
    return {name: text.encode("utf-8") for name, text in found.items()}


# jinja2's own marks mean something in TeX.
MARKS = {
    "block_start_string": "<%", "block_end_string": "%>", "variable_start_string": "<<", "variable_end_string": ">>",
    "comment_start_string": "<#", "comment_end_string": "#>",
}  # fmt: skip


def escaped(text: str) -> str:
    """A text in which nothing means anything to TeX, on one line."""
    flat = re.sub(r"\s+", " ", printable(text))
    apart = {match.start() for match in _LIGATURE.finditer(flat)}  # of two hyphens a dash would be made
    return "".join("{}" * (place in apart) + _escaped(character) for place, character in enumerate(flat))


def _escaped(character: str) -> str:
    if (command := _COMMANDS.get(character)) is not None:
        return command
    if character.isascii() or character in KNOWN:
        return character
    return rf"\unicodechar{{{ord(character):04X}}}{{{character}}}"


def _laid(name: str, grid: Grid) -> dict[str, object]:
    return {
        "name": Raw(name.replace("_", "-")),
        "caption": grid.caption,
        "layout": Raw("".join(map(_column, _columns(grid)))),
        "columns": [_stacked(name, numeric) for name, numeric in zip(grid.columns, map(_numeric, _columns(grid)), strict=True)],
        "rows": [[_cell(cell) for cell in row] for row in grid.rows],
        "legend": grid.legend,
        "long": len(grid.rows) > LONG,
    }


def _columns(grid: Grid) -> list[list[Cell]]:
    return [[row[place] for row in grid.rows] for place in range(len(grid.columns))]


def _numeric(cells: Sequence[Cell]) -> bool:
    return all(cell.number for cell in cells)


def _column(cells: Sequence[Cell]) -> str:
    """How a column is set: numbers on the right, long texts in lines of their own width."""
    if _numeric(cells):
        return "r"
    return r">{\raggedright\arraybackslash}p{5cm}" if any(len(cell.text) > WORDY for cell in cells) else "l"


def _stacked(name: str, numeric: bool) -> Raw:
    """A heading; of several words in two lines where narrow numbers are below it."""
    words = name.split()
    if not numeric or len(words) < 2:
        return Raw(escaped(name))
    place = min(range(1, len(words)), key=lambda place: abs(len(" ".join(words[:place])) - len(" ".join(words[place:]))))
    return Raw(rf"\shortstack[r]{{{escaped(' '.join(words[:place]))}\\{escaped(' '.join(words[place:]))}}}")


def _cell(cell: Cell) -> Raw:
    text = escaped(cell.text)
    text = rf"\textbf{{{text}}}" if cell.strong and text else text
    text += rf"\textsuperscript{{{escaped(cell.mark)}}}" if cell.mark else ""
    if not cell.below:
        return Raw(text)
    lines = [escaped(line) for line in cell.lines]
    if not cell.number:
        return Raw(rf"{text} {{\scriptsize ({'; '.join(lines)})}}")
    return Raw(rf"\numberwith{{{text}}}{{{BREAK.join(lines)}}}")
