"""Quality against a cost: every method as a mark, and the Pareto front of those that no other beats in both."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from trunkline.pictures import focus
from trunkline.pictures.figure import BAR, GREY, LABEL, SMALL, Panel, headed, plain, short, text_width, titles_width

FAR = 8.0  # the largest cost is so many times the smallest: their axis is logarithmic
ROOM = 0.08  # of the height, above the highest mark, for its number
NEAR = (0.06, 0.08)  # shares of the axes: marks that are nearer to each other share one label
STEP = 0.16  # inches between lines of the list of names


@dataclass(frozen=True)
class Priced:
    """A method: what it costs, its score, and whether it is a floor, changes the trunk, or is on the front."""

    name: str
    cost: float
    score: float
    floor: bool = False
    changes_trunk: bool = False
    front: bool = False


LOOKS: tuple[tuple[str, Callable[[Priced], bool], dict[str, Any]], ...] = (
    ("floor", lambda one: one.floor, {"marker": "s", "facecolors": "white", "edgecolors": "#6a6a6a"}),
    ("changes the trunk", lambda one: one.changes_trunk, {"marker": "^", "color": "#d55e00"}),
    ("frozen trunk", lambda one: not (one.floor or one.changes_trunk), {"marker": "o", "color": BAR}),
)


def front(
    task: str,
    kind: str,
    methods: Sequence[Priced],
    axes_names: tuple[str, str],
    shown: Callable[[float], str],
    higher_is_better: bool = True,
) -> Panel:
    """A panel of quality against one cost; a method far behind all others is marked at the edge.

    Args:
        task, kind: of the title.
        methods: those on the front are numbered by rising cost, and named below.
        axes_names: of the cost and of the score.
        shown: a cost in words, for the axis.
        higher_is_better: of the metric.
    """
    named = sorted((one for one in methods if one.front), key=lambda one: (one.cost, one.score))
    width = max(4.4, titles_width([task], kind) + 0.8, *(text_width(short(one.name), SMALL) + 0.9 for one in named or methods))
    draw = _Drawing(task, kind, methods, named, axes_names, shown, higher_is_better)
    return Panel(draw, width, 3.3 + STEP * len(named))


@dataclass(frozen=True)
class _Drawing:
    task: str
    kind: str
    methods: Sequence[Priced]
    named: Sequence[Priced]
    axes_names: tuple[str, str]
    shown: Callable[[float], str]
    higher: bool

    def __call__(self, axes: Axes) -> None:
        scores = [one.score for one in self.methods]
        end = focus.limit(scores, self.higher)
        low, high = focus.span(scores, end, self.higher)
        axes.set_ylim(low, high + ROOM * (high - low))
        self._scale(axes)
        edge = focus.edge(axes, self.higher, "y")
        places = {one.name: edge if focus.off(one.score, end, self.higher) else one.score for one in self.methods}
        for label, own, look in LOOKS:
            if marks := [one for one in self.methods if own(one)]:
                at = [one.cost for one in marks], [places[one.name] for one in marks]
                axes.scatter(*at, s=26, label=label, clip_on=False, **look)
        if self.named:
            line: dict[str, Any] = {
                "color": "black",
                "linewidth": 0.9,
                "drawstyle": "steps-post",
                "zorder": 0,
                "label": "Pareto front",
            }
            axes.plot([one.cost for one in self.named], [places[one.name] for one in self.named], **line)
        for (cost, score), numbers in self._numbers(axes, places):
            axes.annotate(
                numbers, (cost, score), xytext=(0, 5), textcoords="offset points", fontsize=SMALL,
                ha="center", va="bottom", fontweight="bold", bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4},
            )  # fmt: skip
        plain(axes)
        axes.grid(color=GREY, linewidth=0.3)
        axes.set_axisbelow(True)
        axes.set_xlabel(self.axes_names[0], fontsize=LABEL)
        axes.set_ylabel(self.axes_names[1], fontsize=LABEL, parse_math=False)
        headed(axes, self.task, self.kind)
        axes.figure.legend(
            *axes.get_legend_handles_labels(), fontsize=SMALL, loc="outside lower center", ncols=2, frameon=False
        )
        if self.named:
            listed = "\n".join(f"{number}  {short(one.name)}" for number, one in enumerate(self.named, 1))
            place: dict[str, Any] = {"ha": "left", "va": "top", "fontsize": SMALL, "linespacing": STEP * 72 / SMALL / 1.2}
            axes.annotate(
                listed, (0, 0), xytext=(0, -38), xycoords="axes fraction", textcoords="offset points", parse_math=False, **place
            )

    def _scale(self, axes: Axes) -> None:
        costs = [one.cost for one in self.methods]
        low, high = min(costs), max(costs)
        if low > 0 and high > FAR * low:
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter(NullFormatter())
            room = (high / low) ** 0.08
            axes.set_xlim(low / room, high * room)
        else:
            room = 0.08 * (high - low) or 0.08 * abs(high) or 0.08
            axes.set_xlim(low - room, high + room)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: self.shown(value)))

    def _numbers(self, axes: Axes, places: Mapping[str, float]) -> list[tuple[tuple[float, float], str]]:
        """Where the numbers of the front are written; those of marks that nearly cover each other are written as one."""
        found: list[tuple[tuple[float, float], str]] = []
        for number, one in enumerate(self.named, 1):
            at = (one.cost, places[one.name])
            if found:
                (x, y), (other_x, other_y) = axes.transLimits.transform(
                    [axes.transScale.transform(point) for point in (at, found[-1][0])]
                )
                if abs(x - other_x) < NEAR[0] and abs(y - other_y) < NEAR[1]:
                    found[-1] = (at, f"{found[-1][1]}, {number}")
                    continue
            found.append((at, str(number)))
        return found


def thinned(value: float) -> str:
    """A number with its unit of thousands, for the ticks of an axis: 1k, 22.7M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{_short(value / size)}{unit}"
    return _short(value)


def _short(value: float) -> str:
    digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:.0f}"
