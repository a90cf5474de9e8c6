"""The decision layer of a branch on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trunkline.cli.show import table, titled
from trunkline.errors import label_name

if TYPE_CHECKING:
    from rich.console import RenderableType


def tables(labels: Sequence[str], decision: Mapping[str, Any]) -> list[RenderableType]:
    """The threshold of each label, where there is not one for all; and how many answers are confident, and right then.

    Args:
        labels: of the task.
        decision: as branch.json has it.
    """
    from rich.text import Text

    found: list[RenderableType] = []
    if decision["thresholds"] is not None:
        made = table("label", ">threshold")
        for label, value in zip(labels, decision["thresholds"], strict=True):
            made.add_row(Text(label_name(label)), f"{value:.4g}")
        found.append(titled("thresholds", made))
    if decision["abstention"]:
        made = table(">min_confidence", ">coverage", ">accuracy")
        for row in decision["abstention"]:
            shares = ("-" if row[key] is None else f"{row[key]:.1%}" for key in ("coverage", "accuracy"))
            made.add_row(f"{row['min_confidence']:g}", *shares)
        found.append(titled("answers that are at least so confident, on validation", made))
    return found
