"""How long the timing of predictions takes that ends a study (times.py), from what a few batches of its units showed.

    seconds = read + for each side: load + (1 + ROUNDS) x (passing + scoring) x tokens timed

A side is a method, by itself, and all side branches of one trunk together, which share a pass of it. The pass ends with the
deepest layer that is read. Scoring is a run's share of that of the unit it was measured in; where no states are stored, it
holds the pass, which each side then takes whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trunkline.model.approach import approach_of
from trunkline.studies.config import Cell
from trunkline.studies.estimates.pace import Forecast, Pace, method_of
from trunkline.studies.plan import PlannedRun, units
from trunkline.studies.study import Study
from trunkline.studies.times import ROUNDS, read_times


@dataclass(frozen=True)
class TimingForecast:
    """Seconds of all that will be timed, and how many methods are without an estimate, as nothing is known of them."""

    seconds: float
    unknown: int


def forecast_times(study: Study, forecast: Forecast) -> TimingForecast:
    """What the timing of predictions will take; nothing where it has been done for the same runs."""
    chosen = study.chosen()
    sides = {cell: study.plan.run(cell, chosen.get(cell, 0), cell.seeds[0]) for cell in study.plan.cells}
    if read_times(study).get("one", {}).keys() == {run.key for run in sides.values()}:
        return TimingForecast(0.0, 0)
    paces = _paces(study, sides, forecast)
    if not paces:
        return TimingForecast(0.0, len(sides))
    first = study.plan.cells[0].trunk
    frozen = {cell for cell, run in sides.items() if not approach_of(run.config.method).changes_trunk}
    shared = [pace for cell, pace in paces.items() if cell in frozen and cell.trunk == first]
    depths = {cell: pace.depths.get(method_of(sides[cell]), 1.0) for cell, pace in paces.items()}
    seconds = max(pace.read for pace in paces.values())
    seconds += sum(seconds_of_side([pace], depths[cell]) for cell, pace in paces.items())
    deepest = max((depths[cell] for cell in paces if cell in frozen and cell.trunk == first), default=1.0)
    return TimingForecast(seconds + (seconds_of_side(shared, deepest) if len(shared) > 1 else 0.0), len(sides) - len(paces))


def seconds_of_side(paces: list[Pace], depth: float = 1.0) -> float:
    """What it takes to time methods on one trunk, all in one pass of it, of which they need the share `depth`."""
    own = [pace.scoring / pace.runs if pace.layers else pace.scoring for pace in paces]
    scoring = sum(own) if all(pace.layers for pace in paces) else max(own)
    passing = depth * max(pace.passing for pace in paces)
    return max(pace.load for pace in paces) + (1 + ROUNDS) * (passing + scoring) * paces[0].timed


def _paces(study: Study, sides: Mapping[Cell, PlannedRun], forecast: Forecast) -> dict[Cell, Pace]:
    """What is known of the unit of each cell's first run, in the order of `sides`."""
    found = {}
    for unit in units(study.plan.searches()):
        pace = forecast.pace(unit)
        for cell in dict.fromkeys(run.cell for run in unit.runs):
            if pace is not None and cell in sides:
                found[cell] = pace
    return {cell: found[cell] for cell in sides if cell in found}
