"""What happens in a study beside the events of its runs: which units are trained, and by whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trunkline.events import Event
from trunkline.studies.plan import Unit


@dataclass(frozen=True)
class RoundStarted(Event):
    """A round begins; these `units` of it have no result yet. None: all of them have."""

    units: tuple[Unit, ...]


@dataclass(frozen=True)
class UnitStarted(Event):
    """This process trains a unit; the events of its runs follow."""

    unit: Unit


@dataclass(frozen=True)
class UnitEnded(Event):
    """A unit is over. `results` and `failed` have, by the key of a run, its result.json, and why there is none.

    `seconds` are those of the unit, of all launches in which it was trained.
    """

    unit: Unit
    seconds: float
    results: Mapping[str, Mapping[str, Any]]
    failed: Mapping[str, str]


@dataclass(frozen=True)
class UnitsElsewhere(Event):
    """Nothing is left for this process, but these `units` are trained by others."""

    units: tuple[Unit, ...]
