"""All that there is to see of a run or a branch, in one figure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from trunkline.pictures.attention import attention
from trunkline.pictures.by_label import by_label
from trunkline.pictures.confusion import confusion
from trunkline.pictures.curves import curves
from trunkline.pictures.figure import families, laid_out, short
from trunkline.pictures.layers import layers
from trunkline.pictures.scatter import scatter
from trunkline.pictures.transfer import transfer

SPLITS = ("test", "validation")
ERROR = "mse"


def draw(summary: Mapping[str, Any]) -> Figure | None:
    """Draw a run: what it has decides which panels there are. None if there is nothing to draw.

    Args:
        summary: of a run, as result.json has it and `RunResult.summary`: its path (`run`) or `name`, `tasks`, and perhaps the
            `history` of its evaluations, its `stages` and its `transfer`. Older runs lack some of what is drawn. Scores are
            those of the test split where there is one.
    """
    tasks: Mapping[str, Mapping[str, Any]] = summary["tasks"]
    split = next((name for name in SPLITS if any(name in task for task in tasks.values())), "validation")
    with matplotlib.rc_context({"font.family": families()}):
        panels = [
            *curves(summary),
            *transfer(summary.get("transfer", ())),
            *confusion(tasks, split),
            *scatter(tasks, split),
            *by_label(tasks, split),
            *attention(tasks),
            *layers(tasks),
        ]
        return laid_out(_name(summary), _scores(tasks), panels) if panels else None


def _name(summary: Mapping[str, Any]) -> str:
    path = Path(summary.get("run", ""))
    return summary.get("name") or path.name or path.resolve().name


def _scores(tasks: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line for each task: its monitored metric on each split, and that of the baseline on the first."""
    lines = []
    for name, task in tasks.items():
        monitor = task.get("monitor", "")
        found = {split: task[split].get(monitor) for split in SPLITS if split in task}
        said = [f"{value:.4f} ({split})" for split, value in found.items() if value is not None]
        baseline = task.get("baseline", {}).get(next(iter(found), ""), {}).get(monitor)
        if said and baseline is not None:
            said.append(f"baseline {baseline:.4f}")
        elif said:
            said += _beside(task, next(iter(found)))
        if said:
            lines.append(f"{short(name)}: {monitor} {', '.join(said)}")
    return lines


def _beside(task: Mapping[str, Any], split: str) -> list[str]:
    """The error of a regression beside that of its baseline, whose correlation is undefined, as it is a constant."""
    own, least = task[split].get(ERROR), task.get("baseline", {}).get(split, {}).get(ERROR)
    return [] if own is None or least is None else [f"{ERROR} {own:.4f}", f"baseline {least:.4f}"]
