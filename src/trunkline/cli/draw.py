"""Static pictures of a run or a branch: the plain numbers of result.json in, a matplotlib Figure out.

What a run has decides what is drawn: the accuracy matrix of each order of a sequence (training/transfer.py), the attention of a
fusion over its adapters by block, and the share of each layer, as in the AdaLayers document. pyplot, with its state for the
whole process, is not used. Importing this loads matplotlib.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.textpath import text_to_path

from trunkline.cli.show import weighs_layers
from trunkline.errors import BadInput
from trunkline.outputs import output_file
from trunkline.tasks.base import LOWER_IS_BETTER

# No date in the file, so that the same numbers give the same bytes.
FORMATS: dict[str, dict[str, Any]] = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
# matplotlib's own font has no Chinese, Japanese or Korean, and tasks are often named after columns. Those installed are used.
FONTS = (
    "Noto Sans CJK KR", "Noto Sans CJK JP", "Noto Sans CJK SC", "NanumGothic", "Malgun Gothic", "Apple SD Gothic Neo",
    "Microsoft YaHei", "PingFang SC", "Yu Gothic", "Hiragino Sans", "WenQuanYi Micro Hei",
)  # fmt: skip
DPI = 150
LABEL, SMALL = 9.0, 7.0  # points
LONGEST = 32  # characters of a name
SLANT = 35  # degrees, of names too long to stand level
COLOURS, BAR, GREY = "Blues", "#2f6fab", "#b0b0b0"
RATIO = 4 / 3  # the shape that a picture of many panels comes near
MEANS = ("forgetting", "backward_transfer", "forward_transfer")


@dataclass(frozen=True)
class Section:
    """Panels of one kind, all of the same size (inches, labels included), under a title."""

    title: str
    panels: Sequence[Callable[[Axes], None]]
    width: float
    height: float

    def columns(self) -> int:
        """How many panels stand side by side."""

        def off(columns: int) -> float:
            rows = math.ceil(len(self.panels) / columns)
            empty = 1 - len(self.panels) / (rows * columns)
            return abs(math.log(columns * self.width / (rows * self.height) / RATIO)) + empty

        return min(range(1, len(self.panels) + 1), key=off)


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


def draw(tasks: Mapping[str, Mapping[str, Any]], transfer: Sequence[Mapping[str, Any]] = ()) -> Figure | None:
    """Draw all that there is to see of a run in one figure; None if there is nothing.

    Args:
        tasks: by name, each with `layers` {layer: share}, the layers that it `reads`, and perhaps `attention`
            {block: {adapter: share}}: `tasks` of a run's result.json.
        transfer: a report for each order of the tasks: `transfer` of a run's result.json.
    """
    attended = {name: task["attention"] for name, task in tasks.items() if task.get("attention")}
    weighed = {name: task for name, task in tasks.items() if weighs_layers(task)}
    with matplotlib.rc_context({"font.family": _families()}):
        sections = []
        if transfer:
            sections.append(_orders(transfer))
        if attended:
            sections.append(_fusions(attended))
        if weighed:
            sections.append(_layers(weighed))
        return _laid_out(sections) if sections else None


def _laid_out(sections: Sequence[Section]) -> Figure:
    grids = [(math.ceil(len(section.panels) / section.columns()), section.columns()) for section in sections]
    heights = [rows * section.height + 0.4 for (rows, _), section in zip(grids, sections, strict=True)]
    widths = [columns * section.width for (_, columns), section in zip(grids, sections, strict=True)]
    widths += [_width(section.title, LABEL + 2) + 0.3 for section in sections]
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08, wspace=0.02, hspace=0.04)
    figure = Figure(figsize=(max(widths), sum(heights)), layout=layout)
    parts = figure.subfigures(len(sections), 1, squeeze=False, height_ratios=heights)
    for part, section, (rows, columns) in zip(parts[:, 0], sections, grids, strict=True):
        part.suptitle(section.title, fontsize=LABEL + 2, fontweight="bold")
        places = part.subplots(rows, columns, squeeze=False).flat
        for panel in section.panels:
            panel(next(places))
        for empty in places:
            empty.set_axis_off()
    return figure


def _orders(reports: Sequence[Mapping[str, Any]]) -> Section:
    """A panel for each order: a row for each stage and one for the tasks trained alone, a column for each task."""
    scores: dict[str, list[float]] = {}
    for report in reports:
        for j, task in enumerate(report["order"]):
            found = [row[j] for row in (*report["matrix"], report["alone"])]
            scores.setdefault(task, []).extend(value for value in found if value is not None)
    # Darker is better. Errors would be the other way round, and in the units of their column they would leave no colours for
    # what lies between 0 and 1.
    metrics = {task: metric for report in reports for task, metric in report["metric"].items()}
    coloured = {
        task
        for task, values in scores.items()
        if metrics[task] not in LOWER_IS_BETTER and all(-1 <= value <= 1 for value in values)
    }
    low, high = _range([value for task in coloured for value in scores[task]])
    columns = {task: f"{_short(task)}\n({metric})" for task, metric in metrics.items()}

    def panel(number: int, report: Mapping[str, Any]) -> Callable[[Axes], None]:
        order = report["order"]

        def draw_on(axes: Axes) -> None:
            levels = [task in coloured for task in order]
            rows = [*report["matrix"], report["alone"]]
            names = [*(f"after {_short(task)}" for task in order), "alone"]
            texts = _heat(axes, rows, names, [columns[task] for task in order], (low, high), 3, levels)
            for i in range(len(order)):
                texts[i][i].set_fontweight("bold")  # the task that this stage has trained
                for later in texts[i][i + 1 :]:
                    later.set_text("")  # not trained yet, which is something else than undefined
            axes.axhline(len(order), color="white", linewidth=5)
            means = [f"{key.replace('_', ' ')} {_signed(report[key])}" for key in MEANS]
            title = ([f"order {number}"] if len(reports) > 1 else []) + means
            axes.set_title("\n".join(title), loc="left", fontsize=LABEL, parse_math=False)

        return draw_on

    widths, top, beyond = _headings(columns.values())
    side = max(_width(f"after {_short(task)}", LABEL) for task in columns)
    lines = len(MEANS) + (len(reports) > 1)
    return Section(
        "Every task after every stage",
        [panel(number, report) for number, report in enumerate(reports, 1)],
        side + max(len(columns) * widths + beyond, _width("backward transfer +0.000", LABEL)) + 0.4,
        (len(columns) + 1) * 0.32 + top + lines * 0.17 + 0.35,
    )


def _fusions(attended: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Section:
    """A panel for each task: a row for each block, a column for each adapter."""
    every = [share for shares in attended.values() for row in shares.values() for share in row.values()]
    span = (0.0, _range(every)[1])

    def panel(task: str, shares: Mapping[str, Mapping[str, float]]) -> Callable[[Axes], None]:
        adapters = list(next(iter(shares.values())))

        def draw_on(axes: Axes) -> None:
            rows = [[row[name] for name in adapters] for row in shares.values()]
            _heat(axes, rows, list(shares), [_short(name) for name in adapters], span, 2)
            axes.set_ylabel("block", fontsize=LABEL)
            _title(axes, task)

        return draw_on

    adapters = {_short(name): None for shares in attended.values() for row in shares.values() for name in row}
    most = max(len(row) for shares in attended.values() for row in shares.values())
    widths, top, beyond = _headings(adapters)
    return Section(
        "Attention over adapters, by block",
        [panel(task, shares) for task, shares in attended.items()],
        max(most * widths + beyond, _titles(attended)) + 0.75,
        max(len(shares) for shares in attended.values()) * 0.25 + top + 0.6,
    )


def _layers(weighed: Mapping[str, Mapping[str, Any]]) -> Section:
    """A panel of bars for each task, all on the same axes."""
    shares = {name: {int(layer): share for layer, share in task["layers"].items()} for name, task in weighed.items()}
    numbers = sorted({layer for row in shares.values() for layer in row})
    largest = max(share for row in shares.values() for share in row.values())
    wide = len(numbers) <= 26  # room for a number at every layer and over every bar

    def panel(task: str) -> Callable[[Axes], None]:
        row, reads = shares[task], set(weighed[task]["reads"])

        def draw_on(axes: Axes) -> None:
            bars = axes.bar(list(row), list(row.values()), color=BAR, width=0.8)
            if wide:
                noted = [f"{share:.0%}" if share >= 0.005 else "" for share in row.values()]
                axes.bar_label(bars, noted, fontsize=SMALL - 0.5, padding=1)
            axes.set_xlim(numbers[0] - 0.6, numbers[-1] + 0.6)
            axes.set_ylim(0, 1.1 * largest)
            shown = [layer for layer in sorted(row) if wide or layer % 5 == 0]
            axes.set_xticks(shown, [str(layer) for layer in shown], fontsize=SMALL)
            for layer, label in zip(shown, axes.get_xticklabels(), strict=True):
                label.set_color("black" if layer in reads else GREY)
            axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
            axes.tick_params(axis="y", labelsize=SMALL)
            axes.spines[["top", "right"]].set_visible(False)
            axes.set_xlabel("layer" if reads >= set(row) else "layer (grey: not read)", fontsize=LABEL)
            _title(axes, task)

        return draw_on

    span = numbers[-1] - numbers[0] + 1
    width = max(span * (0.26 if wide else 0.12) + 0.7, 2.2, _titles(weighed) + 0.7)
    return Section("Share of each layer", [panel(task) for task in weighed], width, 2.4)


def _heat(
    axes: Axes,
    rows: Sequence[Sequence[float | None]],
    row_names: Sequence[str],
    column_names: Sequence[str],
    span: tuple[float, float],
    digits: int,
    coloured: Sequence[bool] | None = None,
) -> list[list[Any]]:
    """A heat map with its numbers, the larger the darker; None, and a column that is not `coloured`, has no colour."""
    shown = coloured or [True] * len(column_names)
    values = [[math.nan if v is None or not shown[j] else v for j, v in enumerate(row)] for row in rows]
    colours = matplotlib.colormaps[COLOURS].with_extremes(bad="#f2f2f2")
    low, high = span
    # The darkest end is left out, so that numbers are read well on every cell.
    axes.pcolormesh(values, cmap=colours, vmin=low, vmax=high + 0.15 * (high - low), edgecolors="white", linewidth=1.5)
    texts: list[list[Any]] = []
    for i, row in enumerate(rows):
        texts.append([])
        for j, value in enumerate(row):
            dark = not math.isnan(values[i][j]) and (values[i][j] - low) / (high - low) > 0.75
            said = "-" if value is None else f"{value:.{digits}f}"
            colour = "white" if dark else "black"
            place: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": LABEL - 0.5, "color": colour}
            texts[-1].append(axes.text(j + 0.5, i + 0.5, said, **place))
    axes.invert_yaxis()
    axes.xaxis.tick_top()
    slant = _slanted(column_names)
    turned: dict[str, Any] = {"rotation": SLANT, "ha": "left", "rotation_mode": "anchor"} if slant else {}
    axes.set_xticks([j + 0.5 for j in range(len(column_names))], column_names, fontsize=LABEL, parse_math=False, **turned)
    axes.set_yticks([i + 0.5 for i in range(len(row_names))], row_names, fontsize=LABEL, parse_math=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return texts


def _title(axes: Axes, task: str) -> None:
    axes.set_title(_short(task), fontsize=LABEL + 1, fontweight="bold", pad=8, parse_math=False)


def _titles(tasks: Iterable[str]) -> float:
    """How wide the widest title is; bold is wider than what `_width` measures."""
    return 1.15 * max(_width(_short(task), LABEL + 1) for task in tasks)


def _headings(names: Iterable[str]) -> tuple[float, float, float]:
    """How wide a column has to be, how high its heading is, and how far that of the last one may reach beyond it."""
    names = list(names)
    widest = max(_width(name, LABEL) for name in names)
    lines = max(name.count("\n") + 1 for name in names)
    if not _slanted(names):
        return max(widest + 0.2, 0.65), lines * 0.17, 0.0
    slope = math.radians(SLANT)
    return 0.65 + 0.12 * (lines - 1), widest * math.sin(slope) + lines * 0.17, widest * math.cos(slope) - 0.3


def _slanted(names: Iterable[str]) -> bool:
    """Whether names above columns are too long to stand level."""
    return max(_width(name, LABEL) for name in names) > 1.2


def _range(values: Sequence[float]) -> tuple[float, float]:
    """The ends of a scale of colours, on whole tenths around the values."""
    if not values:
        return 0.0, 1.0
    low, high = math.floor(10 * min(values)) / 10, math.ceil(10 * max(values)) / 10
    return low, max(high, low + 0.1)


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"


def _short(name: str) -> str:
    """A name that leaves room for others."""
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def _width(text: str, size: float) -> float:
    """How wide the widest line of a text is, in inches."""
    font = font_manager.FontProperties(size=size)
    lines = (text_to_path.get_text_width_height_descent(line, font, ismath=False) for line in text.split("\n"))
    return max(width for width, _, _ in lines) / 72


def _families() -> list[str]:
    """The fonts that letters are looked for in."""
    there = set(font_manager.get_font_names())
    return [*matplotlib.rcParams["font.family"], *(name for name in FONTS if name in there)]
