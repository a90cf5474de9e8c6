"""Heat maps: the larger a number, the darker its cell."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm

from trunkline.pictures.figure import LABEL, text_width

COLOURS = "Blues"
SLANT = 35  # degrees, of names too long to stand level


def heat(
    axes: Axes,
    rows: Sequence[Sequence[float | None]],
    row_names: Sequence[str],
    column_names: Sequence[str],
    span: tuple[float, float],
    shown: Callable[[int, int], str] | None,
    coloured: Sequence[bool] | None = None,
    size: float = LABEL,
    slant: float | None = None,
    gamma: float = 1.0,
) -> list[list[Any]]:
    """Draw a heat map; return the texts of its cells.

    Args:
        axes: where.
        rows: the numbers; None has no colour.
        row_names: beside the rows.
        column_names: above the columns.
        span: the numbers of the lightest colour and of the darkest.
        shown: the text of a cell, by row and column; None where cells have none.
        coloured: for each column, whether its cells are coloured; all by default.
        size: of the names, in points.
        slant: of the names above the columns, in degrees; by default level where there is room.
        gamma: exponent that the colours follow: below 1, small numbers are told apart better.
    """
    used = coloured or [True] * len(column_names)
    values = [[math.nan if v is None or not used[j] else v for j, v in enumerate(row)] for row in rows]
    colours = matplotlib.colormaps[COLOURS].with_extremes(bad="#f2f2f2")
    low, high = span
    # The darkest end is left out, so that numbers are read well on every cell.
    edges: dict[str, Any] = {"edgecolors": "white", "linewidth": 1.5 if shown else 0.2}
    axes.pcolormesh(values, cmap=colours, norm=PowerNorm(gamma, low, high + 0.15 * (high - low)), **edges)
    texts: list[list[Any]] = []
    for i, row in enumerate(rows if shown else ()):
        texts.append([])
        for j in range(len(row)):
            dark = not math.isnan(values[i][j]) and ((values[i][j] - low) / (high - low)) ** gamma > 0.75
            colour = "white" if dark else "black"
            place: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": size - 0.5, "color": colour}
            texts[-1].append(axes.text(j + 0.5, i + 0.5, shown(i, j) if shown else "", **place))
    axes.invert_yaxis()
    axes.xaxis.tick_top()
    angle = slant if slant is not None else SLANT if slanted(column_names, size) else 0
    turned: dict[str, Any] = {"rotation": angle, "ha": "left", "rotation_mode": "anchor"} if 0 < angle < 90 else {}
    turned = {"rotation": 90, "va": "bottom", "ha": "center"} if angle == 90 else turned
    axes.set_xticks([j + 0.5 for j in range(len(column_names))], column_names, fontsize=size, parse_math=False, **turned)
    axes.set_yticks([i + 0.5 for i in range(len(row_names))], row_names, fontsize=size, parse_math=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return texts


def headings(names: Iterable[str]) -> tuple[float, float, float]:
    """How wide a column has to be, how high its heading is, and how far that of the last one may reach beyond it."""
    names = list(names)
    widest = max(text_width(name, LABEL) for name in names)
    lines = max(name.count("\n") + 1 for name in names)
    if not slanted(names):
        return max(widest + 0.2, 0.65), lines * 0.17, 0.0
    slope = math.radians(SLANT)
    return 0.65 + 0.12 * (lines - 1), widest * math.sin(slope) + lines * 0.17, widest * math.cos(slope) - 0.3


def slanted(names: Iterable[str], size: float = LABEL) -> bool:
    """Whether names above columns are too long to stand level."""
    return max(text_width(name, size) for name in names) > 1.2


def scale(values: Sequence[float]) -> tuple[float, float]:
    """The ends of a scale of colours, on whole tenths around the values."""
    if not values:
        return 0.0, 1.0
    low, high = math.floor(10 * min(values)) / 10, math.ceil(10 * max(values)) / 10
    return low, max(high, low + 0.1)


def number(value: float | None, digits: int) -> str:
    """A score in a cell; '-' where it is undefined."""
    return "-" if value is None else f"{value:.{digits}f}"
