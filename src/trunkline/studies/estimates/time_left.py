"""How long a study still takes: what was estimated of the rest, corrected by what has happened so far.

A unit of some methods takes the estimate times a factor: what units of the same methods took, over what was estimated of them.
All units count for each, but those of other methods only as PRIOR seconds do, as runs of one method stop earlier than those of
another; and PRIOR seconds count as estimated rightly, as a unit of a moment says little about one of an hour.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from trunkline.studies.estimates.pace import Estimate
from trunkline.studies.plan import Unit
from trunkline.training import clock

PRIOR = 5.0


class TimeLeft:
    """Told of units as they begin and end; time is that of `clock.now`."""

    def __init__(self) -> None:
        self._planned: dict[str, tuple[str, Estimate]] = {}  # by unit, its methods and what is estimated
        self._took: list[tuple[str, float, float]] = []  # methods, seconds estimated and taken
        self._under_way: tuple[str, float, float] | None = None  # unit, when it began, share that is done
        self._beside = 0.0  # what follows the units, as it was estimated

    def plan(self, units: Iterable[Unit], estimates: Mapping[str, Estimate], beside: float = 0.0) -> None:
        """Take note of all that is still to be trained, and of the seconds of what follows, in place of what was before."""
        self._beside = beside
        self._planned = {unit.key: (_methods(unit), estimates[unit.key]) for unit in units if unit.key in estimates}

    def begin(self, unit: Unit) -> None:
        """A unit begins."""
        self._under_way = (unit.key, clock.now(), 0.0)

    def reached(self, part: str, share: float) -> None:
        """Of the unit under way, so much of a part ("before" training, or "training") is done."""
        if self._under_way is None or self._under_way[0] not in self._planned:
            return
        key, began, _ = self._under_way
        estimate = self._planned[key][1]
        done = estimate.before * share if part == "before" else estimate.before + estimate.training * share
        self._under_way = (key, began, min(1.0, done / max(estimate.seconds, 1e-9)))

    def end(self, unit: Unit, seconds: float) -> None:
        """A unit is over, after so many seconds of all its launches."""
        self._under_way = None
        self.drop(unit, seconds)

    def drop(self, unit: Unit, seconds: float | None = None) -> None:
        """A unit is no longer to be trained here, for it took so long, or others train it."""
        planned = self._planned.pop(unit.key, None)
        if planned is not None and seconds is not None:
            self._took.append((planned[0], planned[1].seconds, seconds))

    def done(self) -> float:
        """The share of all time that is over, by the estimates alone."""
        over = sum(estimated for _, estimated, _ in self._took)
        ahead = self._beside + sum(estimate.seconds for _, estimate in self._planned.values())
        if self._under_way is not None and self._under_way[0] in self._planned:
            now = self._planned[self._under_way[0]][1].seconds * self._under_way[2]
            over, ahead = over + now, ahead - now
        return over / (over + ahead) if over + ahead else 1.0

    def seconds(self) -> float:
        """What is left."""
        left = 0.0
        for key, (methods, estimate) in self._planned.items():
            ahead = 1.0
            if self._under_way is not None and key == self._under_way[0]:
                ahead -= self._under_way[2]
            left += self._factor(methods) * estimate.seconds * ahead
        return left + self._factor("") * self._beside

    def _factor(self, methods: str) -> float:
        seen = list(self._took)
        if self._under_way is not None and self._under_way[2] and self._under_way[0] in self._planned:
            key, began, share = self._under_way
            own, estimate = self._planned[key]
            seen.append((own, estimate.seconds * share, clock.now() - began))
        overall = _ratio(seen, 1.0)
        return _ratio([one for one in seen if one[0] == methods], overall)


def _ratio(seen: Iterable[tuple[str, float, float]], prior: float) -> float:
    estimated, took = PRIOR, PRIOR * prior
    for _, expected, actual in seen:
        estimated, took = estimated + expected, took + actual
    return took / estimated


def _methods(unit: Unit) -> str:
    return " ".join(sorted({run.cell.method for run in unit.runs}))
