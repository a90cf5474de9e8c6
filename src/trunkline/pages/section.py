"""What a page is made of: sections of pictures, tables, sentences and listings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from trunkline.pictures.figure import Panel, families

SHOWN = 40  # rows of a table on the page; its file has all


@dataclass(frozen=True)
class Table:
    """Numbers or texts in rows: a CSV file, and a table on the page.

    Attributes:
        name: of the file, without ".csv": one of its own for every table of a page, of lower-case letters, digits and "_".
        columns: their names.
        rows: of strings, numbers and None.
        caption: above it on the page.
        shown: how many rows are on the page; 0: it is a file alone.
    """

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""
    shown: int = SHOWN


def with_values(name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """A table of those columns that some row has a value in."""
    kept = [place for place in range(len(columns)) if any(row[place] is not None for row in rows)]
    return Table(name, [columns[place] for place in kept], [[row[place] for place in kept] for row in rows])


@dataclass(frozen=True)
class Cell:
    """A cell as it is shown.

    Attributes:
        text: what is in it.
        number: whether it is set as numbers are, on the right.
        strong: whether it stands out.
        mark: raised behind the text; the legend of the table says what it means.
        below: under the text, in smaller letters.
    """

    text: str
    number: bool = False
    strong: bool = False
    mark: str = ""
    below: str = ""


@dataclass(frozen=True)
class Grid:
    """A table whose cells are set one by one, for people; its file has the numbers that they were made of.

    Attributes:
        columns: their names.
        rows: of cells, as many as there are columns.
        numbers: the CSV file.
        caption: above it.
        legend: what its marks mean, a sentence each.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    numbers: Table
    caption: str = ""
    legend: Sequence[str] = ()


@dataclass(frozen=True)
class Picture:
    """A figure: a PNG file, which is also in the page, and a CSV file of the same name.

    Attributes:
        figure: what is drawn; readable in grey.
        numbers: what it shows; its name is that of both files.
        alt: the same in a sentence, for those who do not see it.
    """

    figure: Figure
    numbers: Table
    alt: str


@dataclass(frozen=True)
class Listing:
    """A text that is shown as it stands, such as a config, folded away under its title."""

    title: str
    text: str


@dataclass(frozen=True)
class Section:
    """A part of the page.

    One without anything but a note does not apply to what the page is about: the page says in one line, its note, why it is
    left out.

    Attributes:
        title: in plain words.
        pictures, tables: in the order of the page; pictures first.
        note: what they show, or what is to be said of them.
        sentences: a list of them, under the note.
        grids: before the pictures.
        listings: at the end.
    """

    title: str
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    note: str = ""
    sentences: Sequence[str] = ()
    grids: Sequence[Grid] = ()
    listings: Sequence[Listing] = ()

    @property
    def left_out(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.pictures or self.tables or self.sentences or self.grids or self.listings)

    @property
    def files(self) -> list[Table]:
        """Everything that becomes a CSV file; one that several grids show once."""
        grids = {id(grid.numbers): grid.numbers for grid in self.grids}
        return [*grids.values(), *(picture.numbers for picture in self.pictures), *self.tables]


def drawn(panel: Panel) -> Figure:
    """A panel as a figure of its own."""
    with matplotlib.rc_context({"font.family": families()}):
        figure = Figure(figsize=(panel.width, panel.height), layout="constrained")
        panel.draw(figure.subplots())
        return figure
