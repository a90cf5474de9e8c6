"""How the progress of a fit words counts, durations, what a task is trained on, and the search of method auto."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trunkline.errors import clipped
from trunkline.events import EvaluationProgress, RoundEnded, SearchEnded, SearchStarted, StatesProgress

MOST_LABELS = 12  # that are named with their counts; of more, half as many of the most frequent and of the rarest


def counted(number: int, what: str) -> str:
    """``"1 epoch"``, ``"2 epochs"``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """A duration that is only about right: whole seconds, minutes or hours."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 1):.0f} s"


def states_reached(event: StatesProgress) -> str:
    """How many of the layer states of a split are computed."""
    return f"layer states of {event.split}, {event.done / max(event.total, 1):.0%}"


def judged_reached(event: EvaluationProgress) -> str:
    """How much of a split has been read to judge tasks on it."""
    return f"evaluating on {event.split}, {event.done / max(event.total, 1):.0%}"


def described(data: Mapping[str, Any]) -> list[str]:
    """What a task is trained and judged on, a line each: rows of the splits, and rows of the labels in the training split."""
    if not data:
        return []
    rows = []
    for split, count in data["rows"].items():
        missing = data["unlabelled"].get(split, 0)
        rows.append(f"{split} {count:,}" + (f" (and {missing:,} without a label)" if missing else ""))
    said = [f"rows: {', '.join(rows)}"]
    if numbers := data.get("numbers", {}).get("train"):
        low, mean, high = numbers
        said.append(f"numbers in train: from {low:g} to {high:g}, mean {mean:g}")
    unit = "" if data.get("unit", "row") == "row" else f" ({data['unit']}s)"
    if labels := data.get("labels", {}).get("train"):
        order = sorted(labels, key=lambda label: -labels[label])
        shown = [
            f"{repr(clipped(label)) if label != label.strip(' ') else clipped(label)} {labels[label]:,}" for label in order
        ]
        if len(shown) > MOST_LABELS:
            half = MOST_LABELS // 2
            few = f"the most frequent {', '.join(shown[:half])}; the rarest {', '.join(shown[-half:])}"
            said.append(f"labels in train{unit}: {len(shown)}; {few}")
        else:
            said.append(f"labels in train{unit}: {', '.join(shown)}")
    elif sizes := data.get("by_size", {}).get("train"):
        said.append(f"labels in train{unit}: {len(sizes)}, the most frequent {sizes[0]:,}, the rarest {sizes[-1]:,}")
    return said


def told_search(event: SearchStarted) -> str:
    """What is compared."""
    many = ", ".join(f"{count} for {task}" for task, count in event.candidates.items())
    return f"candidates: {many}; compared in at most {counted(event.epochs, 'epoch')} of {counted(event.steps, 'step')}"


def told_round(event: RoundEnded, metric: str) -> str:
    """Which candidates are left, and the best of them."""
    score = "undefined" if event.score is None else f"{event.score:.4f}"
    best = f"; best: {event.left[0]}, {metric} {score}" if event.left else ""
    left = f"{len(event.left)} of {counted(event.count, f'{event.kind} candidate')} left"
    return f"{event.task}, round {event.round} of {event.rounds}: {left}{best}"


def told_finalists(event: SearchEnded) -> str:
    """What is trained to the end."""
    best = "; ".join(f"{kind}/{task}: {name}" for task, own in event.finalists.items() for kind, name in own.items())
    return f"compared in {duration(event.seconds)}; now training the best as the config says: {best}"
