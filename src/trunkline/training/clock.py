"""The time of a run, by what it is spent on; a run that is resumed keeps what was counted before.

The parts are disjoint and their sum is the time that passed, in seconds:

load: the trunk is read.  read: data is read, checked and tokenised.  states: layer states are computed and stored.
training: steps.  judging: the tasks are scored.  saving: checkpoints and branches.  other: the rest.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

Part = Literal["load", "read", "states", "training", "judging", "saving"]
PARTS: tuple[Part, ...] = ("load", "read", "states", "training", "judging", "saving")
now = time.monotonic


class Clock:
    """Counts from `began` (of `now`) on, or from when it is made."""

    def __init__(self, began: float | None = None) -> None:
        self.began = now() if began is None else began
        self.spent: dict[str, float] = dict.fromkeys(PARTS, 0.0)
        self._before = 0.0  # seconds of earlier launches of the run, as far as they were saved
        self._spent_before: dict[str, float] = {}
        self._within: list[float] = []  # for each part that is open, what others opened within it took

    @contextmanager
    def part(self, name: Part) -> Iterator[None]:
        """Count the block as `name`; a part opened within it is counted as its own alone."""
        start = now()
        self._within.append(0.0)
        try:
            yield
        finally:
            took = now() - start
            self.spent[name] += took - self._within.pop()
            if self._within:
                self._within[-1] += took

    def add(self, name: Part, seconds: float) -> None:
        """Count seconds that were measured elsewhere, outside of any `part`."""
        self.spent[name] += seconds

    def resume(self, saved: Mapping[str, Any]) -> None:
        """Add the time of earlier launches, as `as_dict` gave it; what is saved later holds what was saved before it."""
        if saved.get("seconds", 0.0) > self._before:
            self._before, self._spent_before = saved["seconds"], dict(saved["parts"])

    def as_dict(self) -> dict[str, Any]:
        """`seconds`, and its `parts` by name, which add up to it; rounded to hundredths."""
        parts = {name: round(seconds + self._spent_before.get(name, 0.0), 2) for name, seconds in self.spent.items()}
        parts["other"] = round(max(self._before + now() - self.began - sum(parts.values()), 0.0), 2)
        return {"seconds": round(sum(parts.values()), 2), "parts": parts}
