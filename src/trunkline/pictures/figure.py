"""Panels arranged in one figure: in rows that fill its width, under a heading."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.textpath import text_to_path

from trunkline.errors import BadInput
from trunkline.outputs import output_file

# No date in the file, so that the same numbers give the same bytes.
FORMATS: dict[str, dict[str, Any]] = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
# matplotlib's own font has no Chinese, Japanese or Korean, and tasks are often named after columns. Those installed are used.
FONTS = (
    "Noto Sans CJK KR", "Noto Sans CJK JP", "Noto Sans CJK SC", "NanumGothic", "Malgun Gothic", "Apple SD Gothic Neo",
    "Microsoft YaHei", "PingFang SC", "Yu Gothic", "Hiragino Sans", "WenQuanYi Micro Hei",
)  # fmt: skip
DPI = 150
LABEL, SMALL, TINY = 9.0, 7.0, 5.5  # points
LONGEST = 32  # characters of a name
BAR, GREY, LIGHT = "#2f6fab", "#b0b0b0", "#9fc5e8"
RATIO = 4 / 3  # the shape that a picture of many panels comes near
STRETCH = 4.0  # how many times its own width a panel is drawn at most, to fill its row
UNEQUAL = 1.5  # how many times as high as another a panel in the same row is at most
WIDEST, STEP, LINE = 40.0, 0.25, 0.2  # inches: of a figure, between the widths that are tried, of a line of the heading


@dataclass(frozen=True)
class Panel:
    """What is drawn into one pair of axes, and how large it is: inches, labels included."""

    draw: Callable[[Axes], None]
    width: float
    height: float


def rows_of(panels: Sequence[Panel], width: float) -> list[list[Panel]]:
    """The panels in their order, in rows of at most this width, together as low as can be and about equally full.

    Those that are beside each other are about equally high.
    """
    # By how many panels are placed: the least height and unevenness of their rows, and where the last row begins.
    best: list[tuple[float, float, int]] = [(0.0, 0.0, 0)]
    for end in range(1, len(panels) + 1):
        tried = []
        for begin in reversed(range(end)):
            row = panels[begin:end]
            used, heights = sum(panel.width for panel in row), [panel.height for panel in row]
            if len(row) > 1 and (used > width + 1e-6 or max(heights) > UNEQUAL * min(heights)):
                break  # a longer row does not fit either
            height, uneven, _ = best[begin]
            tried.append((round(height + max(heights), 6), uneven + (width - used) ** 2, begin))
        best.append(min(tried))
    rows, end = list[list[Panel]](), len(panels)
    while end:
        begin = best[end][2]
        rows.insert(0, list(panels[begin:end]))
        end = begin
    return rows


def laid_out(title: str, lines: Sequence[str], panels: Sequence[Panel]) -> Figure:
    """One figure of all panels, under a heading: its title and some lines."""
    narrowest = max(panel.width for panel in panels)
    narrowest = max(narrowest, *(text_width(line, LABEL) + 0.4 for line in [*lines, title + "  "]))
    widest = min(sum(panel.width for panel in panels), WIDEST)
    steps = math.ceil(max(0.0, widest - narrowest) / STEP)
    width = min((narrowest + STEP * step for step in range(steps + 1)), key=lambda one: _badness(one, panels))
    rows = rows_of(panels, width)
    heading = 0.42 + LINE * len(lines)
    heights = [heading, *map(_height, rows)]
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08, wspace=0.02, hspace=0.04)
    figure = Figure(figsize=(width, sum(heights)), layout=layout)
    top, *parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    _headed(top, title, lines, heading)
    for part, row in zip(parts, rows, strict=True):
        _row(part, row, width)
    return figure


def _headed(top: SubFigure, title: str, lines: Sequence[str], height: float) -> None:
    top.text(0.5, 1 - 0.2 / height, title, ha="center", va="center", fontsize=LABEL + 4, fontweight="bold", parse_math=False)
    for number, line in enumerate(lines):
        place = 1 - (0.42 + LINE * number) / height
        top.text(0.5, place, line, ha="center", va="center", fontsize=LABEL, parse_math=False)


def _row(part: Any, row: Sequence[Panel], width: float) -> None:
    """The panels of one row, side by side; they fill it unless that would stretch them too far."""
    ratios = [panel.width for panel in row]
    spare = width - STRETCH * sum(ratios)
    if spare > 0.5:
        ratios.append(spare / STRETCH)
    # A part of its own for each panel, or names above one would push down the others.
    places = part.subfigures(1, len(ratios), squeeze=False, width_ratios=ratios)[0]
    for panel, place in zip(row, places, strict=False):
        panel.draw(place.subplots())


def _height(row: Iterable[Panel]) -> float:
    return max(panel.height for panel in row)


def _badness(width: float, panels: Sequence[Panel]) -> float:
    """How far a figure of this width is from the shape that is wanted, and how much of it would be stretched or empty."""
    rows = rows_of(panels, width)
    height = sum(map(_height, rows))
    used = sum(panel.width * panel.height for panel in panels)
    return abs(math.log(width / height / RATIO)) + 2 * (1 - used / (width * height))


def check_target(path: Path) -> None:
    """Refuse a file that no picture can be written to.

    Raises:
        BadInput: its extension is no format, or it does not lie in a folder that exists.
    """
    if path.suffix.lower() not in FORMATS:
        *most, last = FORMATS
        found = f"the extension {path.suffix!r}" if path.suffix else "no extension"
        raise BadInput(f"--picture {path}: found {found}, expected {', '.join(most)} or {last}")
    if path.is_dir() or not path.parent.is_dir():
        raise BadInput(f"--picture {path}: expected a file to write in a folder that exists")


def write(figure: Figure, path: Path) -> None:
    """Write a picture, whole or not at all, in the format of the file's extension."""
    form = path.suffix.lower()
    with output_file(path) as file, matplotlib.rc_context({"svg.hashsalt": "trunkline"}):
        figure.savefig(file, format=form[1:], dpi=DPI, metadata=FORMATS[form])


def families() -> list[str]:
    """The fonts that letters are looked for in."""
    there = set(font_manager.get_font_names())
    return [*matplotlib.rcParams["font.family"], *(name for name in FONTS if name in there)]


def headed(axes: Axes, task: str, kind: str) -> None:
    """Write the title of a panel: a task, and what is shown of it."""
    axes.set_title(_title(task, kind), fontsize=LABEL + 1, fontweight="bold", pad=8, parse_math=False)


def titled(kind: str, right: str | None) -> str:
    """What is shown of a text with the right answer beside it, where that is known."""
    return kind if right is None else f"{kind} (right: {short(right)})"


def titles_width(tasks: Iterable[str], kind: str) -> float:
    """How wide the widest title of panels is; bold is wider than what `text_width` measures."""
    return 1.15 * max(text_width(_title(task, kind), LABEL + 1) for task in tasks) + 0.2


def _title(task: str, kind: str) -> str:
    return f"{short(task)}: {kind}"


def plain(axes: Axes) -> None:
    """Axes with small numbers and without a frame above and on the right."""
    axes.tick_params(labelsize=SMALL)
    axes.spines[["top", "right"]].set_visible(False)


def short(name: str) -> str:
    """A name that leaves room for others."""
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def text_width(text: str, size: float) -> float:
    """How wide the widest line of a text is, in inches."""
    font = font_manager.FontProperties(size=size)
    lines = (text_to_path.get_text_width_height_descent(line, font, ismath=False) for line in text.split("\n"))
    return max(width for width, _, _ in lines) / 72
