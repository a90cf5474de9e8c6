"""Reliability diagrams: how often answers are right, by how confident they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from trunkline.pictures.figure import BAR, GREY, LABEL, SMALL, Panel, headed, plain, titles_width
from trunkline.tasks.calibration import Bin

KIND = "reliability diagram"
STYLES: tuple[dict[str, Any], ...] = (
    {"color": BAR, "marker": "o", "linestyle": "-", "linewidth": 1.5, "markersize": 4.5},
    {"color": "black", "marker": "s", "linestyle": ":", "linewidth": 1, "markersize": 3.5, "fillstyle": "none"},
)


def reliability(task: str, curves: Mapping[str, Sequence[Bin]], agrees: str, graded: str) -> Panel:
    """A panel for one task.

    Args:
        task: for the title.
        curves: by what the legend calls them, the bins that have rows; of the first also how many.
        agrees: what the share of is drawn upwards, in words.
        graded: what the bins hold, in words.
    """
    return Panel(_drawing(task, curves, agrees, graded), max(4.2, titles_width([task], KIND) + 0.6), 4.2)


def _drawing(task: str, curves: Mapping[str, Sequence[Bin]], agrees: str, graded: str) -> Callable[[Axes], None]:
    first = next(iter(curves.values()))
    points = {name: [(one.confidence or 0.0, one.accuracy or 0.0) for one in bins] for name, bins in curves.items()}
    total = sum(one.rows for one in first)

    def draw_on(axes: Axes) -> None:
        axes.bar(
            [(one.low + one.high) / 2 for one in first],
            [one.rows / total for one in first],
            width=[0.9 * (one.high - one.low) for one in first],
            color="#e4e4e4",
            edgecolor=GREY,
            linewidth=0.5,
            label=f"share of {graded}",
            zorder=0,
        )
        axes.plot([0, 1], [0, 1], color="black", linestyle="--", linewidth=0.8)
        for (name, own), style in zip(points.items(), STYLES, strict=False):
            axes.plot(*zip(*own, strict=True), label=name, **style)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        plain(axes)
        axes.set_xlabel("confidence (probability)", fontsize=LABEL)
        axes.set_ylabel(agrees, fontsize=LABEL)
        axes.figure.legend(fontsize=SMALL, loc="outside lower center", ncols=1, frameon=False)
        headed(axes, task, KIND)

    return draw_on
