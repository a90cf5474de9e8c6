"""What of a study is ahead and how long that takes: measured before it is trained, and kept beside what it then took."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from trunkline.errors import TrunklineError
from trunkline.events import Event, Finding, Preparing, Subscriber, quiet
from trunkline.studies.checks import check
from trunkline.studies.estimates.floors import floors_ahead, forecast_floors
from trunkline.studies.estimates.kept import keep_taken, paces_of
from trunkline.studies.estimates.pace import Estimate, Forecast, kind_of
from trunkline.studies.estimates.probe import Probe
from trunkline.studies.estimates.timing import forecast_times
from trunkline.studies.plan import Unit, units
from trunkline.studies.progress import listing, names
from trunkline.studies.readings import Readings, refuse_changed
from trunkline.studies.study import Study
from trunkline.studies.trunks import Trunks
from trunkline.studies.unit_events import RoundStarted, UnitEnded
from trunkline.training.cost import forget_peak, held_memory
from trunkline.training.prepare import Prepared
from trunkline.trunk.machine import pick_device


def ahead(study: Study) -> list[Unit]:
    """What is left to be trained, as far as it is known: what is not chosen yet is taken to be the first of the settings."""
    left = [*study.plan.searches(), *study.plan.repeats({**dict.fromkeys(study.plan.cells, 0), **study.chosen()})]
    rounds = len(study.plan.searches())
    open_runs = [[run for run in part if study.result(run) is None] for part in (left[:rounds], left[rounds:])]
    return [unit for part in open_runs for unit in units(part)]


def measure(study: Study, forecast: Forecast, publish: Subscriber = quiet) -> bool:
    """Measure every kind of unit that is ahead and not known yet, at the size with most rows; return whether there was one."""
    kinds: dict[str, Unit] = {}
    for unit in ahead(study):
        kind, rows = kind_of(unit), forecast.rows[unit.runs[0].cell.size]
        if kind not in forecast.paces and (kind not in kinds or rows > forecast.rows[kinds[kind].runs[0].cell.size]):
            kinds[kind] = unit
    probe, before = Probe(), dict[str, int]()
    for number, (kind, unit) in enumerate(kinds.items(), 1):
        methods = listing([run.cell.method for run in unit.runs], 1)
        publish(Preparing(f"measuring a few batches of {methods} ({number} of {len(kinds)})"))
        forget_peak()
        before[kind] = held_memory(pick_device(unit.runs[0].config.trunk.device))
        try:
            forecast.paces[kind] = probe.measure(unit)
        except TrunklineError as error:
            forecast.failed[kind] = str(error)
            publish(Finding(not_estimated(names(unit.runs).values(), forecast.failed[kind])))
    forecast.findings = tuple(probe.findings)
    del probe
    forget_peak()
    for kind in before.keys() & forecast.paces.keys():  # each is trained in a process in which all have left something behind
        pace = forecast.paces[kind]
        now = held_memory(pick_device(kinds[kind].runs[0].config.trunk.device))
        forecast.paces[kind] = replace(pace, memory=pace.memory + max(0, now - before[kind]))
    return bool(kinds)


def not_estimated(runs: Collection[str], why: str) -> str:
    """What to say of runs, by what they are called, that could not be measured."""
    return f"{listing(runs)}: time and memory are not estimated, as training a few batches failed: {why}"


def rehearse(study: Study, publish: Subscriber = quiet) -> dict[str, Any]:
    """What a study would train and what that takes. Trains nothing of it, and writes nothing into its folder.

    Raises:
        BadInput: as of `run`.
    """
    study.refuse_other()
    publish(Preparing("reading the data"))
    readings = Readings()
    sizes = check(study.plan, readings)
    forecast = Forecast(rows=rows_of(sizes))
    noticed = [said for groups in sizes.values() for one in groups for said in one.findings]
    refuse_changed(study, readings)
    Trunks(study).refuse_changed()
    del readings, sizes
    if study.path.is_dir():
        forecast.paces.update(paces_of(study))
    measure(study, forecast, publish)
    floors = forecast_floors(floors_ahead(study), forecast.rows, publish)
    forecast.stored = floors.stored
    left, timing = ahead(study), forecast_times(study, forecast)
    estimates, need = forecast.estimates(left), forecast.need(left)
    return {
        "path": str(study.path),
        "cells": [
            {
                "method": cell.method, "trunk": cell.trunk, "size": cell.size, "regime": cell.regime,
                "settings": [dict(settings) for settings in cell.candidates], "seeds": list(cell.seeds),
            }
            for cell in study.plan.cells
        ],
        "runs": study.plan.total(),
        "done": study.done(),
        "units": [_unit(unit, estimates.get(unit.key), forecast.failed.get(kind_of(unit))) for unit in left],
        "seconds": round(sum(one.seconds for one in estimates.values()) + floors.seconds + timing.seconds, 2),
        "floors": {"seconds": round(floors.seconds, 2), "not_estimated": floors.failed},
        "timing": {"seconds": round(timing.seconds, 2), "unknown": timing.unknown},
        "disk_bytes": {"states": need.states, "runs": need.runs},
        "memory_bytes": need.memory,
        "findings": list(dict.fromkeys([*study.plan.findings, *noticed, *forecast.findings])),
    }  # fmt: skip


def _unit(unit: Unit, estimate: Estimate | None, failed: str | None) -> dict[str, Any]:
    cell = unit.runs[0].cell
    return {
        "trunk": cell.trunk,
        "size": cell.size,
        "regime": cell.regime,
        "runs": list(names(unit.runs).values()),
        "seeds": sorted({run.seed for run in unit.runs}),
        "seconds": None if estimate is None else round(estimate.seconds, 2),
        "not_estimated": failed,
    }


def rows_of(sizes: Mapping[str, Sequence[Prepared]]) -> dict[str, int]:
    """How many training rows there are of each size."""
    return {size: sum(len(group.splits["train"].corpus.texts) for group in groups) for size, groups in sizes.items()}


class Keeper:
    """Keeps what each unit took beside what was estimated of it."""

    def __init__(self, study: Study, forecast: Forecast) -> None:
        self._study, self._forecast = study, forecast
        self._estimates: dict[str, Estimate] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, RoundStarted):
            self._estimates = self._forecast.estimates(event.units)
        elif isinstance(event, UnitEnded):
            shares = [_trained(result, event.unit) for result in event.results.values()]
            mean = sum(shares) / len(shares) if shares else None
            keep_taken(self._study, event.unit, self._estimates.get(event.unit.key), event.seconds, mean)


def _trained(result: Mapping[str, Any], unit: Unit) -> float:
    """Which share of its epochs a run has trained."""
    planned = unit.runs[0].config.training.epochs * max(1, len(result.get("stages", ())))
    return len(result["cost"]["epochs"]) / planned
