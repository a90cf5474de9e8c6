"""Confusion matrices of tasks with one label per text: how many texts of each label got which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from trunkline.pictures.figure import LABEL, SMALL, TINY, Panel, headed, short, text_width, titles_width
from trunkline.pictures.heat import heat

FEW, WIDEST = 7, 1.2  # labels up to which columns are widened to hold their names level; inches of a name at most
NUMBERED = 24  # labels up to which every cell has its number
MOST = 100  # labels that are shown at most; of more, those with the most errors
WORST = 40


def confusion(tasks: Mapping[str, Mapping[str, Any]], split: str) -> list[Panel]:
    """A panel for each task that has `confusion` {true: {predicted: texts}} among its metrics of this split.

    A row is a true label and a column a predicted one; the colour of a cell is its share of the row.
    """
    panels = []
    for name, task in tasks.items():
        counts = task.get(split, {}).get("confusion")
        if counts:
            panels.append(_panel(name, split, counts, _labels(task[split], counts)))
    return panels


def _labels(metrics: Mapping[str, Any], counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """All labels, in the order of the task; of very many, those with the most errors."""
    every = list(dict.fromkeys([*metrics.get("by_label", ()), *counts, *(one for row in counts.values() for one in row)]))
    if len(every) <= MOST:
        return every
    errors = dict.fromkeys(every, 0)
    for true, row in counts.items():
        for predicted, count in row.items():
            if true != predicted:
                errors[true] += count
                errors[predicted] += count
    worst = set(sorted(every, key=lambda label: -errors[label])[:WORST])
    return [label for label in every if label in worst]


def _panel(task: str, split: str, counts: Mapping[str, Mapping[str, int]], labels: Sequence[str]) -> Panel:
    every = set(counts) | {one for row in counts.values() for one in row}
    kind = f"confusion matrix ({split})" if len(every) <= MOST else f"{len(labels)} labels with the most errors ({split})"
    rows = [[counts.get(true, {}).get(predicted, 0) for predicted in labels] for true in labels]
    totals = [sum(counts.get(true, {}).values()) for true in labels]
    shares: list[list[float | None]] = [
        [count / total if total else None for count in row] for row, total in zip(rows, totals, strict=True)
    ]
    names = [short(label) for label in labels]
    numbered = len(labels) <= NUMBERED
    size = LABEL if len(labels) <= 12 else SMALL if numbered else TINY
    widest = max(text_width(name, size) for name in names)
    digits = text_width(f"{max(map(max, rows)):,}", size)
    cell = max(0.62 if len(labels) <= 7 else 0.42, digits + 0.14) if numbered else 0.115
    if len(labels) <= FEW:  # a few columns may be as wide as their names
        cell = max(cell, min(widest, WIDEST) + 0.2)
    level = numbered and widest < cell - 0.1
    top = 0.2 if level else widest

    def draw_on(axes: Axes) -> None:
        shown = (lambda i, j: f"{rows[i][j]:,}" if rows[i][j] else "") if numbered else None
        heat(axes, shares, names, names, (0.0, 1.0), shown, size=size, slant=0 if level else 90, gamma=0.5)
        axes.set_xlabel("predicted", fontsize=LABEL)
        axes.set_ylabel("true", fontsize=LABEL)
        headed(axes, task, kind)

    width = widest + 0.5 + max(cell * len(labels), titles_width([task], kind))
    row = max(0.3, 0.75 * min(cell, 0.62)) if numbered else cell
    return Panel(draw_on, width, max(2.5, top + row * len(labels) + 0.7))
