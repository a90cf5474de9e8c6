"""Learning curves over training sizes: the score of each method by the number of rows that it was trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, NullLocator

from trunkline.pictures import focus
from trunkline.pictures.figure import GREY, LABEL, SMALL, Panel, headed, plain, short, text_width, titles_width

KIND = "by training rows"
MOST = 10  # methods that are drawn; of more, those that are best at the largest size, and the best floor
COLUMNS = 3  # of the legend
# Told apart by shape and dashes in grey, too (colours: Okabe and Ito 2008, for people who do not see all colours).
COLOURS = ("#0072b2", "#d55e00", "#000000", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
MARKERS, DASHES = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*"), ("-", "--", "-.", (0, (5, 1, 1, 1, 1, 1)))


@dataclass(frozen=True)
class Trained:
    """A method at a training size: its rows, mean, and the ends of its interval."""

    rows: int
    mean: float
    low: float | None = None
    high: float | None = None


def by_rows(
    task: str,
    unit: str,
    methods: Mapping[str, Sequence[Trained]],
    shown: Sequence[str],
    floors: Sequence[str] = (),
    higher_is_better: bool = True,
) -> Panel:
    """A panel with a line for each method; a line that is far behind all others is cut off, which the legend says.

    Args:
        task: for the title.
        unit: of the scores: the metric.
        methods: by name, the points by rising size. A method has the same look whichever others are shown.
        shown: those that are drawn.
        floors: names of those that are simple baselines: their lines are grey.
        higher_is_better: of the metric.
    """
    names = max(text_width(short(name), SMALL) for name in shown)
    width = max(5.6, COLUMNS * (names + 0.55), titles_width([task], KIND) + 1.2)
    lines = math.ceil(len(shown) / COLUMNS)
    looks = _looks(list(methods), floors)
    drawn = {name: (methods[name], looks[name]) for name in shown}
    return Panel(_drawing(task, unit, drawn, higher_is_better), width, 3.4 + 0.16 * lines)


def drawn_methods(scores: Mapping[str, float], floors: Sequence[str], higher_is_better: bool) -> list[str]:
    """Which methods are drawn, in the order given: all, or of more than MOST those with the best scores and the best floor."""
    order = sorted(scores, key=lambda name: -scores[name] if higher_is_better else scores[name])
    kept = order[:MOST] if len(order) <= MOST else order[: MOST - 1]
    if len(order) > MOST:
        kept += [name for name in order if name in floors and name not in kept][:1] or [order[MOST - 1]]
    return [name for name in scores if name in kept]


def _looks(methods: Sequence[str], floors: Sequence[str]) -> dict[str, dict[str, Any]]:
    """How the line of each method is drawn; floors are grey."""
    looks: dict[str, dict[str, Any]] = {}
    number = 0
    for name in methods:
        if name in floors:
            looks[name] = {"color": "#8a8a8a", "linestyle": ":", "marker": "s", "markerfacecolor": "white"}
            continue
        dashes = DASHES[(number // len(COLOURS) + number) % len(DASHES)]
        looks[name] = {
            "color": COLOURS[number % len(COLOURS)],
            "marker": MARKERS[number % len(MARKERS)],
            "linestyle": dashes,
        }
        number += 1
    return looks


def _drawing(
    task: str, unit: str, drawn: Mapping[str, tuple[Sequence[Trained], dict[str, Any]]], higher: bool
) -> Callable[[Axes], None]:
    best = {name: (max if higher else min)(one.mean for one in points) for name, (points, _) in drawn.items()}
    end = focus.limit(list(best.values()), higher)
    near = {name for name, score in best.items() if not focus.off(score, end, higher)}
    reached = [value for name in near for one in drawn[name][0] for value in (one.mean, one.low, one.high) if value is not None]
    sizes = sorted({one.rows for points, _ in drawn.values() for one in points})

    def draw_on(axes: Axes) -> None:
        axes.set_ylim(*focus.span(reached, None, higher))
        axes.set_xscale("log")
        for place, (name, (points, look)) in enumerate(drawn.items()):
            beside = 1.012 ** (place - len(drawn) / 2)  # so that intervals do not cover each other
            ends = [(one.mean if one.low is None else one.low, one.mean if one.high is None else one.high) for one in points]
            error = [
                [max(one.mean - low, 0.0) for one, (low, _) in zip(points, ends, strict=True)],
                [max(high - one.mean, 0.0) for one, (_, high) in zip(points, ends, strict=True)],
            ]
            axes.errorbar(
                [one.rows * beside for one in points],
                [one.mean for one in points],
                yerr=error,
                label=short(name) if name in near else f"{short(name)} (off: {best[name]:.3g} at best)",
                **{"markersize": 4, "linewidth": 1.2, "elinewidth": 0.7, "capsize": 1.5, **look},
            )
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        plain(axes)
        axes.grid(axis="y", color=GREY, linewidth=0.3)
        axes.set_xlabel("training rows", fontsize=LABEL)
        axes.set_ylabel(unit, fontsize=LABEL, parse_math=False)
        legend = axes.figure.legend(
            *axes.get_legend_handles_labels(), fontsize=SMALL, loc="outside lower center", ncols=COLUMNS, frameon=False
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
        headed(axes, task, KIND)

    return draw_on
