"""Training a study, run by run: resumed where it was stopped, by any number of processes at once.

    DIR/study.json           the mark: the folder is a study's
    DIR/runs/KEY/            runs, as `fit` leaves them; KEY is a digest of the config, so an enlarged study finds them again
    DIR/floors/KEY/          simple baselines (floors/)
    DIR/stacks/KEY.json      runs that are being trained together, which are resumed together, as rounding depends on that
    DIR/stacks/KEY/          their checkpoint
    DIR/failed/KEY.json      why a run has no result
    DIR/locks/               held by the process that trains something

A run that fails is noted and left out; another launch tries it again.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trunkline.errors import BadInput, TrunklineError
from trunkline.events import Subscriber, quiet
from trunkline.files import read_object, write_errors, write_json
from trunkline.studies.config import Cell
from trunkline.studies.plan import Plan, PlannedRun, Unit, choose, units
from trunkline.studies.unit_events import RoundStarted, UnitEnded, UnitsElsewhere, UnitStarted
from trunkline.training.clock import Clock
from trunkline.training.fit import fit
from trunkline.training.rundir import missing_branch
from trunkline.training.stacked import fit_stacked

MARK = "study.json"
_MARKED = {"schema": 1, "written_by": "trunkline", "holds": "a study: runs, floors, stacks, failed and locks here are its own"}
WAIT = 1.0  # seconds between looks at what another process trains

Say = Callable[[str], None]


class Study:
    """A plan with its folder.

    Args:
        plan: what to train.
        path: the folder; made and marked by `train`.
    """

    def __init__(self, plan: Plan, path: Path) -> None:
        self.plan, self.path = plan, path
        self._began = time.time()

    def train(self, publish: Subscriber = quiet, say: Say = lambda sentence: None) -> None:
        """Train what has no result yet.

        Args:
            publish: told of what happens in the study (unit_events.py) and in its runs.
            say: told in a sentence what is trained next.

        Raises:
            BadInput: the folder holds other things than a study, or cannot be written.
            KeyboardInterrupt: stopped by SIGINT or SIGTERM, after a checkpoint was saved.
        """
        self.claim()
        self._round(self.plan.searches(), publish, say)
        self._round(self.plan.repeats(self.chosen()), publish, say)

    def result(self, run: PlannedRun) -> dict[str, Any] | None:
        """result.json of a run; None where it is not finished, or its branches are gone."""
        folder = self.place(run)
        if not (folder / "result.json").is_file():
            return None
        found = read_object(folder / "result.json")
        return None if any(missing_branch(folder / "branches" / name) for name in found["tasks"]) else found

    def failure(self, run: PlannedRun) -> str | None:
        """Why a run has no result; None where it has, or was not tried."""
        file = self.path / "failed" / f"{run.key}.json"
        return str(read_object(file)["reason"]) if file.is_file() else None

    def done(self) -> int:
        """How many runs have a result."""
        repeats = self.plan.repeats(self.chosen())
        return sum(self.result(run) is not None for run in [*self.plan.searches(), *repeats])

    def place(self, run: PlannedRun) -> Path:
        return self.path / "runs" / run.key

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
        if self.path.exists() and not (self.path / MARK).is_file():
            if not self.path.is_dir():
                raise BadInput(f"{self.path}: is a file; expected a new or empty folder, or that of a study")
            if other := next(iter(sorted(self.path.iterdir())), None):
                expected = "a new or empty folder, or that of a study"
                raise BadInput(f"{self.path}: is not a study, but contains {other.name!r}; expected {expected}")

    def claim(self) -> None:
        """Make the folder, and mark it. BadInput where it holds other things, or cannot be written."""
        self.refuse_other()
        with write_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            if not (self.path / MARK).exists():
                write_json(self.path / MARK, _MARKED)
            for name in ("runs", "failed", "stacks", "locks"):
                (self.path / name).mkdir(exist_ok=True)

    def _round(self, runs: Sequence[PlannedRun], publish: Subscriber, say: Say) -> None:
        """Train all units of a round; what another process trains is waited for."""
        left = self._units(runs)
        publish(RoundStarted(tuple(left)))
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
                    write_json(self._noted(unit), {"runs": [run.key for run in unit.runs]})
                found.append(unit)
        order = {run.key: number for number, run in enumerate(runs)}
        return sorted(found, key=lambda unit: order[unit.runs[0].key])

    def _noted(self, unit: Unit) -> Path:
        return self.path / "stacks" / f"{unit.key}.json"

    def _settled(self, unit: Unit) -> bool:
        """Whether every run of a unit has a result, or has failed since this process began."""
        return all(self.result(run) is not None or self._failed_lately(run) for run in unit.runs)

    def _failed_lately(self, run: PlannedRun) -> bool:
        file = self.path / "failed" / f"{run.key}.json"
        return file.is_file() and file.stat().st_mtime >= self._began

    def _train(self, unit: Unit, publish: Subscriber, say: Say) -> None:
        say(f"{unit.runs[0]}" if len(unit.runs) == 1 else f"{len(unit.runs)} runs together, from {unit.runs[0]}")
        publish(UnitStarted(unit))
        clock = Clock()
        for run in unit.runs:
            (self.path / "failed" / f"{run.key}.json").unlink(missing_ok=True)
        try:
            outcomes: Mapping[str, Any]
            if unit.stacked:
                configs = {run.key: run.config for run in unit.runs}
                places = {run.key: self.place(run) for run in unit.runs}
                outcomes = fit_stacked(configs, places, self.path / "stacks" / unit.key, publish)
            else:
                [run] = unit.runs
                outcomes = {run.key: fit(run.config, run_dir=self.place(run), progress=False, subscribers=[publish])}
        except Exception as error:
            outcomes = {run.key: error for run in unit.runs if self.result(run) is None}
        for key, outcome in outcomes.items():
            if isinstance(outcome, Exception):
                write_json(self.path / "failed" / f"{key}.json", {"reason": reason(outcome)})
        self._noted(unit).unlink(missing_ok=True)
        results = {run.key: result for run in unit.runs if (result := self.result(run)) is not None}
        failed = {run.key: why for run in unit.runs if (why := self.failure(run)) is not None}
        seconds = max((result["cost"]["seconds"] for result in results.values()), default=clock.as_dict()["seconds"])
        publish(UnitEnded(unit, seconds, results, failed))

    @contextmanager
    def locked(self, key: str, wait: bool = False) -> Iterator[bool]:
        """Hold the lock of a unit, or of whatever else has a key; yield whether it was free, or once it is."""
        with open(self.path / "locks" / key, "a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
                return
            yield True


def reason(error: Exception) -> str:
    """Why a run failed, in a sentence. The words of other libraries' errors might hold a text."""
    if isinstance(error, TrunklineError):
        return str(error)
    return f"{type(error).__name__}{': out of memory' if 'out of memory' in str(error).lower() else ''}"
