"""One bar for each layer that is read alone, beside the branch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from trunkline.pictures.figure import BAR, GREY, LABEL, LIGHT, SMALL, Panel, headed, plain, titles_width

KIND = "each layer alone"
NEAR = 0.25  # of the highest score: if all differ by less, their axis does not begin at 0, which its label says
WIDE = 26  # layers up to which each bar has its number


def single_layers(
    task: str, metric: str, split: str, rows: Sequence[Mapping[str, Any]], branch: Mapping[str, Any], chosen: int | None
) -> Panel:
    """A panel for one task.

    Args:
        task: for the title.
        metric: what the bars are.
        split: "test", or "validation" where there is no test split: whose scores the bars are.
        rows: for each layer its `layer` and its scores on `validation` and `test`, None where undefined.
        branch: its `name` and the same scores.
        chosen: the layer with the best score on validation.
    """
    each = 0.34 if len(rows) <= WIDE else 0.14
    width = max((len(rows) + 2.5) * each + 0.8, 4.0, titles_width([task], KIND) + 0.6)
    return Panel(_drawing(task, metric, split, rows, branch, chosen), width, 3.3)


def _drawing(
    task: str, metric: str, split: str, rows: Sequence[Mapping[str, Any]], branch: Mapping[str, Any], chosen: int | None
) -> Callable[[Axes], None]:
    layers = [row["layer"] for row in rows]
    places, wide = [*layers, max(layers) + 2], len(layers) <= WIDE
    scores: list[float | None] = [row[split] for row in (*rows, branch)]
    marks: list[float | None] = [row["validation"] for row in (*rows, branch)] if split != "validation" else []
    known = [score for score in (*scores, *marks) if score is not None] or [0.0, 1.0]
    low, high = min(known), max(known)
    bottom = min(low, 0.0)
    if low > 0 and high - low < NEAR * high:  # bars from 0 would all look the same
        bottom = max(0.0, math.floor(20 * (2 * low - high - 0.02)) / 20)

    def draw_on(axes: Axes) -> None:
        heights = [math.nan if score is None else score for score in scores]
        colours = [LIGHT] * len(layers) + [BAR]
        bars = axes.bar(places, heights, width=0.8, color=colours, edgecolor="black", linewidth=0.4, label=split)
        for layer, bar in zip(layers, bars, strict=False):
            bar.set_hatch("///" if layer == chosen else "")
        drawn: list[Any] = [bars]
        marked = [(place, mark) for place, mark in zip(places, marks, strict=False) if mark is not None]
        if marked:
            look: dict[str, Any] = {"linestyle": "", "marker": "_", "color": "black", "markersize": 7}
            drawn += axes.plot(*zip(*marked, strict=True), label="validation", **look)
        if scores[-1] is not None:
            axes.axhline(scores[-1], color=GREY, linestyle=":", linewidth=1.2, zorder=0)
        axes.set_ylim(bottom, high + 0.25 * (high - bottom or 1.0))
        for place, score in zip(places, scores, strict=True) if wide else ():
            if score is not None:  # above the mark, too
                above = max([score, *(mark for at, mark in marked if at == place)]) + 0.02 * (high - bottom)
                axes.text(place, above, f"{score:.3f}", fontsize=SMALL - 1, rotation=90, ha="center", va="bottom")
        axes.set_xlim(min(places) - 0.7, max(places) + 1.2)
        shown = [layer for layer in layers if wide or layer % 5 == 0]
        axes.set_xticks([*shown, places[-1]], [*map(str, shown), branch["name"]])
        plain(axes)
        axes.set_xlabel("layer read alone (hatched: best on validation)", fontsize=LABEL)
        axes.set_ylabel(f"{metric} ({split})" + (f", from {bottom:g}" if bottom > 0 else ""), fontsize=LABEL)
        axes.figure.legend(handles=drawn, fontsize=SMALL, loc="outside lower center", ncols=2, frameon=False)
        headed(axes, task, KIND)

    return draw_on
