"""How scores of a study are written in tables and lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def score(task: Mapping[str, Any]) -> str:
    """The test score of a cell of the facts: its mean with the interval, or over several seeds with the deviation."""
    if task["test"] is None:
        return "-"
    if task.get("interval"):
        low, high = task["interval"]
        return f"{task['test']:.4f} [{low:.3f}, {high:.3f}]"
    return f"{task['test']:.4f}" + (f" ± {task['deviation']:.4f}" if task.get("deviation") is not None else "")
