"""Means of methods with their intervals, one above the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from trunkline.pictures import focus
from trunkline.pictures.figure import BAR, GREY, LABEL, SMALL, Panel, headed, plain, short, text_width, titles_width

ROW = 0.24  # inches


@dataclass(frozen=True)
class Measured:
    """A method: its mean, the ends of its interval, the scores of its runs, and whether it is a floor or the best."""

    name: str
    mean: float
    low: float | None = None
    high: float | None = None
    runs: Sequence[float] = ()
    floor: bool = False
    best: bool = False


def intervals(task: str, kind: str, unit: str, methods: Sequence[Measured], higher_is_better: bool = True) -> Panel:
    """A panel with a row for each method; of one that is far behind all others, the mean is written at the edge.

    Args:
        task, kind: of the title.
        unit: of the axis: the metric.
        methods: from the top on. Floors are hollow, the best is filled and black; runs are small marks.
        higher_is_better: of the metric.
    """
    names = max(text_width(short(one.name), SMALL + 1) for one in methods)
    width = names + max(4.2, titles_width([task], kind) + 0.2)
    return Panel(_drawing(task, kind, unit, methods, higher_is_better), width, ROW * len(methods) + 1.25)


def _drawing(task: str, kind: str, unit: str, methods: Sequence[Measured], higher: bool) -> Callable[[Axes], None]:
    end = focus.limit([one.mean for one in methods], higher)
    near = [one for one in methods if not focus.off(one.mean, end, higher)]
    reached = [value for one in near for value in (one.mean, one.low, one.high, *one.runs) if value is not None]

    def draw_on(axes: Axes) -> None:
        axes.set_xlim(*focus.span(reached, None if end is None else min(reached) if higher else max(reached), higher))
        for place, one in enumerate(methods):
            colour = "black" if one.best else "#6a6a6a" if one.floor else BAR
            if focus.off(one.mean, end, higher):
                look: dict[str, Any] = {"va": "center", "ha": "left" if higher else "right", "color": colour, "fontsize": SMALL}
                axes.text(focus.edge(axes, higher, "x"), place, _beyond(one.mean, higher), **look)
                continue
            low, high = (one.mean if value is None else value for value in (one.low, one.high))
            error = [[max(one.mean - low, 0.0)], [max(high - one.mean, 0.0)]]
            mark: dict[str, Any] = {"fmt": "s" if one.floor else "o", "markersize": 4.5, "capsize": 2.5, "elinewidth": 1.2}
            filled: dict[str, Any] = {
                "markerfacecolor": "white" if one.floor else colour,
                "ecolor": colour,
                "markeredgecolor": colour,
            }
            axes.errorbar([one.mean], [place], xerr=error, **mark, **filled)
            axes.plot(one.runs, [place] * len(one.runs), "|", color=colour, markersize=7, alpha=0.55, markeredgewidth=0.9)
        if best := next((one for one in methods if one.best), None):
            axes.axvline(best.mean, color=GREY, linestyle=":", linewidth=1, zorder=0)
        plain(axes)
        axes.grid(axis="x", color=GREY, linewidth=0.3)
        axes.set_axisbelow(True)
        axes.set_yticks(range(len(methods)), [short(one.name) for one in methods], fontsize=SMALL + 1, parse_math=False)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(methods) - 0.4, -0.6)
        axes.set_xlabel(unit, fontsize=LABEL, parse_math=False)
        headed(axes, task, kind)

    return draw_on


def _beyond(mean: float, higher: bool) -> str:
    return f" \u25c2 {mean:.4g}" if higher else f"{mean:.4g} \u25b8 "
