"""What the evaluations of a run tell about how its training went, a sentence for each task that went wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trunkline.tasks import Task

MOVED = 0.02  # the share that a training loss falls by at least where something is learned


def training_findings(history: Sequence[Mapping[str, Any]], tasks: Mapping[str, Task]) -> list[str]:
    """Training losses that did not fall, and monitored metrics that were never defined.

    Args:
        history: the entries of one training, as `result.json` holds them.
        tasks: those that learned in it.
    """
    found = []
    for name, task in tasks.items():
        entries = [entry["tasks"][name] for entry in history if name in entry["tasks"]]
        losses = [loss for entry in entries if (loss := entry.get("train_loss")) is not None]
        if len(losses) > 1 and losses[0] - losses[-1] < MOVED * abs(losses[0]):
            found.append(
                f"training: the loss of task {name!r} hardly fell, from {losses[0]:.4g} before the first evaluation to "
                f"{losses[-1]:.4g} before the last. A higher training.learning_rate, more training.epochs or smaller batches "
                "(training.batch_tokens) may help."
            )
        monitor = task.monitor
        undefined = sum(entry["validation"].get(monitor) is None for entry in entries)
        if entries and undefined == len(entries):
            found.append(
                f"validation: {monitor} of task {name!r} was undefined at each of {undefined} evaluations, as where there is "
                "one row or all values are equal. The weights with the lowest validation loss were kept."
            )
    return found
