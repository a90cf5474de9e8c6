"""What `method: auto` has compared, as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from trunkline.cli import show
from trunkline.errors import ascii_controls

SHOWN = 8  # candidates of a task


def tables(auto: Mapping[str, Any]) -> RenderableType:
    """For each task its best candidates: those that were trained to the end, then those that stayed longest, by score."""
    parts = [_of(task, found) for task, found in auto["tasks"].items()]
    searched, trained = show.seconds(auto["search_seconds"]), show.seconds(auto["training_seconds"])
    spent = f"compared in {searched}, the best trained in {trained}; cost: of an epoch, AdaLayers is 1"
    return Group(*parts, Text(spent, style="dim"))


def _of(task: str, found: Mapping[str, Any]) -> RenderableType:
    made = show.table("candidate", ">cost", ">rounds", ">compared", ">trained")
    rows = ordered(found)
    for row in rows[:SHOWN]:
        mark = " *" if row["name"] == found["chosen"] else ""
        compared = show.number(row["validation"]) if row["of"] else ""  # at another rate
        made.add_row(
            Text(f"{row['name']}{mark}", style="bold" if mark else ""),
            f"{row['cost']:.2f}",
            f"{row['rounds']} of {row['of']}" if row["of"] else "",
            "failed" if "failed" in row else compared,
            show.number(row["trained"]) if "trained" in row else "",
        )
    more = len(rows) - SHOWN
    notes = [Text(f"and {more} more in result.json", style="dim")] if more > 0 else []
    title = f"{ascii_controls(task)}: what auto compared, by {found['metric']} on validation (* is the branch)"
    return show.titled(title, made, *notes)


def ordered(found: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The candidates of a task, the one that was chosen first."""
    worst = float("inf") if found["lower_is_better"] else float("-inf")

    def place(row: Mapping[str, Any]) -> tuple[bool, bool, int, float]:
        score = worst if row["validation"] is None else row["validation"]
        left = row["of"] - row["rounds"]
        return row["name"] != found["chosen"], "trained" not in row, left, score if found["lower_is_better"] else -score

    return sorted(found["candidates"], key=place)
