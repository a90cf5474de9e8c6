"""Training a study, run by run: resumed where it was stopped, by any number of processes at once.

    DIR/study.json           the mark: the folder is a study's
    DIR/runs/KEY/            runs, as `fit` leaves them; KEY is a digest of the config, so an enlarged study finds them again
    DIR/floors/KEY/          simple baselines (floors/)
    DIR/stacks/KEY.json      runs that are being trained together, which are resumed together, as rounding depends on that
    DIR/stacks/KEY/          their checkpoint
    DIR/failed/KEY.json      why a run has no result
    DIR/data.json            rows and digests of the splits that runs are trained on (readings.py)
    DIR/trunks.json          fingerprints of the trunks that are local folders (trunks.py)
    DIR/locks/               held by the process that trains something

A run that fails is noted and left out; another launch tries it again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from trunkline.claiming import foreign_entry
from trunkline.errors import BadInput
from trunkline.events import Subscriber, quiet
from trunkline.files import read_object, write_errors, write_json
from trunkline.studies.config import Cell
from trunkline.studies.plan import Plan, PlannedRun, Unit, choose, units
from trunkline.studies.unit_events import RoundStarted, UnitEnded, UnitsElsewhere, UnitStarted
from trunkline.studies.units import failure_file, locked, place_of, result_of, stack_file, train_unit
from trunkline.training.clock import Clock
from trunkline.training.rundir import check_path

MARK = "study.json"
_MARKED = {"schema": 1, "written_by": "trunkline", "holds": "a study: runs, floors, stacks, failed and locks here are its own"}
WAIT = 1.0  # seconds between looks at what another process trains

Say = Callable[[str], None]
Elsewhere = Callable[[Path, Sequence[Unit]], Iterator[Unit]]  # the folder of a study and units to units that are over


class Study:
    """A plan with its folder.

    Args:
        plan: what to train.
        path: the folder; made and marked by `train`.

    Raises:
        BadInput: no folder can have this path.
    """

    def __init__(self, plan: Plan, path: Path) -> None:
        check_path(path, "study")
        self.plan, self.path = plan, path
        self._began = time.time()

    def train(self, publish: Subscriber = quiet, say: Say = lambda sentence: None, elsewhere: Elsewhere | None = None) -> None:
        """Train what has no result yet.

        Args:
            publish: told of what happens in the study (unit_events.py) and in its runs.
            say: told in a sentence what is trained next.
            elsewhere: trains units in other processes, whose runs' own events are not told then.

        Raises:
            BadInput: the folder holds other things than a study, or cannot be written.
            KeyboardInterrupt: stopped by SIGINT or SIGTERM, after a checkpoint was saved.
        """
        self.claim()
        self._round(self.plan.searches(), publish, say, elsewhere)
        self._round(self.plan.repeats(self.chosen()), publish, say, elsewhere)

    def result(self, run: PlannedRun) -> dict[str, Any] | None:
        """result.json of a run; None where it is not finished, or its branches are gone."""
        return result_of(self.path, run.key)

    def failure(self, run: PlannedRun) -> str | None:
        """Why a run has no result; None where it has, or was not tried."""
        file = failure_file(self.path, run.key)
        return str(read_object(file)["reason"]) if file.is_file() else None

    def done(self) -> int:
        """How many runs have a result."""
        repeats = self.plan.repeats(self.chosen())
        return sum(self.result(run) is not None for run in [*self.plan.searches(), *repeats])

    def place(self, run: PlannedRun) -> Path:
        return place_of(self.path, run.key)

    def chosen(self) -> dict[Cell, int]:
        """Of every cell whose first round has a result, the candidate that is best on validation."""
        found = {}
        for cell in self.plan.cells:
            runs = [self.plan.run(cell, choice, cell.seeds[0]) for choice in range(len(cell.candidates))]
            tasks = {run.choice: result["tasks"] for run in runs if (result := self.result(run)) is not None}
            if (choice := choose(tasks)) is not None:
                found[cell] = choice
        return found

    def refuse_other(self) -> None:
        """Raise BadInput where the folder is that of something else. Nothing is written."""
        expected = "expected a new or empty folder, or that of a study"
        if self.path.exists() and not self.path.is_dir():
            raise BadInput(f"{self.path}: is a file; {expected}")
        other = foreign_entry(self.path, MARK) if self.path.is_dir() else None
        if other is not None and not (self.path / MARK).is_file():
            raise BadInput(f"{self.path}: is not a study, but contains {other.name!r}; {expected}")

    def claim(self) -> None:
        """Make the folder, and mark it. BadInput where it holds other things, or cannot be written."""
        self.refuse_other()
        with write_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            if not (self.path / MARK).exists():
                write_json(self.path / MARK, _MARKED)
            for name in ("runs", "failed", "stacks", "locks"):
                (self.path / name).mkdir(exist_ok=True)

    def _round(self, runs: Sequence[PlannedRun], publish: Subscriber, say: Say, elsewhere: Elsewhere | None) -> None:
        """Train all units of a round; what another process trains is waited for."""
        left = self._units(runs)
        publish(RoundStarted(tuple(left)))
        if elsewhere is not None:
            clock = Clock()
            for unit in elsewhere(self.path, left):
                publish(UnitStarted(unit))
                self._ended(unit, clock.as_dict()["seconds"], publish)
            return
        told: list[Unit] = []
        while left:
            waiting = []
            for unit in left:
                if self._settled(unit):
                    continue
                with self.locked(unit.key) as free:
                    if not free:
                        waiting.append(unit)
                    elif not self._settled(unit):
                        self._train(unit, publish, say)
            left = waiting
            if left and left != told:
                publish(UnitsElsewhere(tuple(left)))
                told = left
            if left:
                time.sleep(WAIT)

    def _units(self, runs: Sequence[PlannedRun]) -> list[Unit]:
        """The units of a round: those that are under way, and what is made of the other runs that have no result."""
        with self.locked("plan", wait=True):
            known = {run.key: run for run in runs}
            found = []
            for file in sorted((self.path / "stacks").glob("*.json")):
                if (keys := read_object(file)["runs"]) and known.keys() >= set(keys):
                    found.append(Unit(tuple(known.pop(key) for key in keys), stacked=True))
            for unit in units([run for run in known.values() if self.result(run) is None]):
                if unit.stacked:
                    write_json(stack_file(self.path, unit.key), {"runs": [run.key for run in unit.runs]})
                found.append(unit)
        order = {run.key: number for number, run in enumerate(runs)}
        return sorted(found, key=lambda unit: order[unit.runs[0].key])

    def _settled(self, unit: Unit) -> bool:
        """Whether every run of a unit has a result, or has failed since this process began."""
        return all(self.result(run) is not None or self._failed_lately(run) for run in unit.runs)

    def _failed_lately(self, run: PlannedRun) -> bool:
        file = failure_file(self.path, run.key)
        return file.is_file() and file.stat().st_mtime >= self._began

    def _train(self, unit: Unit, publish: Subscriber, say: Say) -> None:
        say(f"{unit.runs[0]}" if len(unit.runs) == 1 else f"{len(unit.runs)} runs together, from {unit.runs[0]}")
        publish(UnitStarted(unit))
        clock = Clock()
        train_unit(self.path, unit.key, {run.key: run.config for run in unit.runs}, unit.stacked, publish)
        self._ended(unit, clock.as_dict()["seconds"], publish)

    def _ended(self, unit: Unit, seconds: float, publish: Subscriber) -> None:
        """Say what has come of a unit, whose last launch took so many seconds."""
        results = {run.key: result for run in unit.runs if (result := self.result(run)) is not None}
        failed = {run.key: why for run in unit.runs if (why := self.failure(run)) is not None}
        seconds = max((result["cost"]["seconds"] for result in results.values()), default=seconds)
        publish(UnitEnded(unit, seconds, results, failed))

    def locked(self, key: str, wait: bool = False) -> AbstractContextManager[bool]:
        """As `units.locked`."""
        return locked(self.path, key, wait)
