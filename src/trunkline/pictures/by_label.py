"""Precision, recall and F1 of each label or entity type as bars."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from trunkline.pictures.figure import (
    BAR,
    LABEL,
    LIGHT,
    SMALL,
    TINY,
    Panel,
    headed,
    plain,
    short,
    text_width,
    titles_width,
)

GROUPED = 12  # labels up to which precision and recall are shown as well
MOST = 100  # labels that are shown at most; of more, those with the lowest F1
WORST = 40
METRICS = {"precision": LIGHT, "recall": "white", "f1": BAR}
HATCHES = {"recall": "/////"}  # told apart from the others in grey, too


def by_label(tasks: Mapping[str, Mapping[str, Any]], split: str) -> list[Panel]:
    """A panel for each task that has `by_label` {label: {precision, recall, f1, support}} among its metrics of this split.

    The labels of a task with few of them are in its order and have three bars; of more labels the F1 is shown, from the
    highest to the lowest. The number behind a label is its support: how often it is the right one.
    """
    return [_panel(name, split, rows) for name, task in tasks.items() if (rows := task.get(split, {}).get("by_label"))]


def _panel(task: str, split: str, rows: Mapping[str, Mapping[str, float]]) -> Panel:
    labels, kind = list(rows), f"scores by label ({split})"
    if len(labels) > GROUPED:
        labels.sort(key=lambda label: -rows[label]["f1"])
    if len(labels) > MOST:
        kind, labels = f"lowest {WORST} of {len(rows)} labels ({split})", labels[-WORST:]
    grouped = len(labels) <= GROUPED
    size = LABEL if grouped else SMALL if len(labels) <= 40 else TINY
    names = [f"{short(label)}  {rows[label]['support']:,}" for label in labels]
    height = max(2.5, (0.46 if grouped else 0.16 if size == SMALL else 0.115) * len(labels) + (1.15 if grouped else 0.75))
    width = max(text_width(name, size) for name in names) + 0.2 + max(3.0, titles_width([task], kind))
    return Panel(_drawing(task, kind, rows, labels, names, size), width, height)


def _drawing(
    task: str, kind: str, rows: Mapping[str, Mapping[str, float]], labels: Sequence[str], names: Sequence[str], size: float
) -> Callable[[Axes], None]:
    grouped = len(labels) <= GROUPED
    shown = list(METRICS) if grouped else ["f1"]
    thick = 0.8 / len(shown)

    def draw_on(axes: Axes) -> None:
        for number, metric in enumerate(shown):
            places = [i - 0.4 + thick * (number + 0.5) for i in range(len(labels))]
            values = [rows[label][metric] for label in labels]
            look: dict[str, Any] = {"color": METRICS[metric], "label": metric.replace("f1", "F1")}
            if metric in HATCHES:
                look |= {"hatch": HATCHES[metric], "edgecolor": "#707070", "linewidth": 0.4}
            bars = axes.barh(places, values, height=thick, **look)
            axes.bar_label(bars, [f"{value:.2f}" for value in values], fontsize=min(size, SMALL) - 0.5, padding=2)
        plain(axes)
        axes.set_yticks(range(len(labels)), names, fontsize=size, parse_math=False)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(labels) - 0.4, -0.6)  # the first label on top
        axes.set_xlim(0, 1.12)
        axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1])
        if grouped:
            handles = axes.get_legend_handles_labels()
            axes.figure.legend(*handles, fontsize=SMALL, loc="outside lower center", ncols=3, frameon=False)
        axes.set_xlabel("score" if grouped else "F1", fontsize=LABEL)
        headed(axes, task, kind)

    return draw_on
