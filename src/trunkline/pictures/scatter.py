"""Predicted against true numbers of regressions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from matplotlib.axes import Axes

from trunkline.pictures.figure import BAR, GREY, LABEL, Panel, headed, plain, titles_width


def scatter(tasks: Mapping[str, Mapping[str, Any]], split: str) -> list[Panel]:
    """A panel for each task that has `sample` {row: {true, predicted}} among its metrics of this split."""
    found = {name: task[split] for name, task in tasks.items() if task.get(split, {}).get("sample")}
    if not found:
        return []
    kind = f"predicted and true ({split})"
    width = max(3.2, titles_width(found, kind) + 0.6)
    return [Panel(_drawing(name, kind, metrics["sample"]), width, 2.9) for name, metrics in found.items()]


def _drawing(task: str, kind: str, sample: Mapping[str, Mapping[str, float | None]]) -> Callable[[Axes], None]:
    pairs = [(pair["true"], pair["predicted"]) for pair in sample.values()]
    known = [(true, predicted) for true, predicted in pairs if true is not None and predicted is not None]

    def draw_on(axes: Axes) -> None:
        ends = [end(value for pair in known for value in pair) for end in (min, max)] if known else []
        axes.plot(ends, ends, color=GREY, linewidth=1, zorder=0)
        axes.scatter([pair[0] for pair in known], [pair[1] for pair in known], s=12, color=BAR, alpha=0.5, linewidths=0)
        plain(axes)
        axes.set_xlabel("true", fontsize=LABEL)
        axes.set_ylabel("predicted", fontsize=LABEL)
        headed(axes, task, kind)

    return draw_on
