"""How scores of a study are written in tables and lines, and errors of its runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trunkline.errors import TrunklineError


def score(task: Mapping[str, Any]) -> str:
    """The test score of a cell of the facts: its mean with the interval, or over several seeds with the deviation."""
    if task["test"] is None:
        return "-"
    if task.get("interval"):
        low, high = task["interval"]
        return f"{task['test']:.4f} [{low:.3f}, {high:.3f}]"
    return f"{task['test']:.4f}" + (f" ± {task['deviation']:.4f}" if task.get("deviation") is not None else "")


def of_study(error: TrunklineError) -> TrunklineError:
    """An error of a run, for a study or a sweep: it is not called with the options of `fit`."""
    return error.with_option("train in another folder (--out)")
