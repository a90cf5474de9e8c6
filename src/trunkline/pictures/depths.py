"""Quality against depth: scores of branches that read different numbers of layers, by the blocks that their pass computes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trunkline.pictures.figure import BAR, GREY, LABEL, SMALL, Panel, families, headed, laid_out, plain, titles_width
from trunkline.tasks.base import LOWER_IS_BETTER
from trunkline.training.depths import NEAR, means

KIND = "quality against depth"
SPLITS: dict[str, dict[str, Any]] = {
    "validation": {"color": BAR, "marker": "o", "linestyle": "-"},
    "test": {"color": "black", "marker": "s", "linestyle": "--"},
}
PRICED = {"validation": "full", "test": "none"}  # how the diamonds of branches that pay for depth are filled
MOST = 26  # blocks up to which each has its tick


def depths(title: str, points: Sequence[Mapping[str, Any]]) -> Figure:
    """A panel for each task of the `points` of `fit_depths`, in one figure.

    Lines join the means over seeds of branches that may read up to a layer; every single run is a small mark.
    """
    names = list(dict.fromkeys(point["task"] for point in points))
    with matplotlib.rc_context({"font.family": families()}):
        width = max(0.42 * min(points[0]["of"], MOST) + 1.6, 5.6, titles_width(names, KIND) + 0.8)
        panels = [Panel(_drawing(name, [one for one in points if one["task"] == name]), width, 4.0) for name in names]
        return laid_out(title, (), panels)


def _drawing(task: str, points: Sequence[Mapping[str, Any]]) -> Callable[[Axes], None]:
    limited = [point for point in points if point["by"] == "layers"]
    priced = [point for point in points if point["by"] != "layers"]
    allowed = sorted({point["allowed"] for point in limited})
    metric, of = points[0]["metric"], points[0]["of"]

    def draw_on(axes: Axes) -> None:
        for split, style in SPLITS.items():
            own = [point for point in limited if point[split] is not None]
            if not own:
                continue
            small = {**style, "linestyle": "", "markersize": 3, "alpha": 0.4, "markeredgewidth": 0}
            axes.plot([point["blocks"] for point in own], [point[split] for point in own], **small)
            centres = [means(own, depth) for depth in allowed if any(point["allowed"] == depth for point in own)]
            at = [(centre["blocks"], centre[split]) for centre in centres]
            axes.plot(*zip(*at, strict=True), **style, markersize=5, linewidth=1.5, label=split)
        for split, filled in PRICED.items():
            own = [point for point in priced if point[split] is not None]
            if own:
                look: dict[str, Any] = {
                    "color": "#b35900",
                    "marker": "D",
                    "linestyle": "",
                    "fillstyle": filled,
                    "markersize": 6,
                }
                axes.plot(
                    [point["blocks"] for point in own],
                    [point[split] for point in own],
                    **look,
                    label=f"{split}, depth has a price",
                )
        full = means(limited, allowed[-1])["validation"] if limited else None
        if full is not None and metric not in LOWER_IS_BETTER:
            axes.axhline(full - NEAR, color=GREY, linestyle=":", linewidth=1.2, label="one point below full depth, validation")
        _ticks(axes, of, {point["blocks"]: point["share_of_time"] for point in points})
        plain(axes)
        axes.grid(axis="y", color=GREY, linewidth=0.3)
        axes.set_ylabel(metric, fontsize=LABEL)
        if axes.get_legend_handles_labels()[0]:
            axes.figure.legend(
                *axes.get_legend_handles_labels(), fontsize=SMALL, loc="outside lower center", ncols=2, frameon=False
            )
        headed(axes, task, KIND)

    return draw_on


def _ticks(axes: Axes, of: int, times: Mapping[int, float]) -> None:
    """Blocks, and below them the time of their pass beside that of all, where it was measured for a run."""
    step = math.ceil((of + 1) / MOST)
    places = [block for block in range(of + 1) if block % step == 0]
    axes.set_xticks(places, [f"{block}\n{times[block]:.2f}x" if block in times else f"{block}" for block in places])
    axes.set_xlim(-0.4, of + 0.4)
    axes.set_xlabel("blocks of the trunk in a pass; below: its time, 1x with all", fontsize=LABEL)
