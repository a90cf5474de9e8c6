"""The progress of a study, on stderr: a bar for all of it and one for what is trained now, and a line for each unit.

Where stderr is no terminal there are lines alone, and those that only say how far a long unit is come once a minute: within an
epoch, too, and while layer states are computed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from functools import singledispatchmethod
from types import TracebackType
from typing import Any

from rich.console import Console

from trunkline.events import (
    BatchEnded,
    ColumnsInterpreted,
    EpochEnded,
    EvaluationProgress,
    Event,
    Finding,
    Preparing,
    Resumed,
    RunStarted,
    StageStarted,
    StatesProgress,
    StatesStored,
    TrainingStarted,
    metric_name,
)
from trunkline.states.budget import readable
from trunkline.studies.estimates.pace import Forecast
from trunkline.studies.estimates.time_left import TimeLeft
from trunkline.studies.estimates.timing import forecast_times
from trunkline.studies.plan import PlannedRun, Unit, units
from trunkline.studies.study import Study
from trunkline.studies.unit_events import RoundStarted, UnitEnded, UnitsElsewhere, UnitStarted
from trunkline.tasks.base import LOWER_IS_BETTER
from trunkline.terminal import from_here
from trunkline.trackers.bars import RunBar, progress_bars
from trunkline.trackers.every_minute import EveryMinute
from trunkline.trackers.lines import paragraph
from trunkline.trackers.wording import counted, duration, judged_reached, states_reached

MOST_NAMES, MOST_TASKS, MOST_FINDINGS = 4, 4, 30  # that are shown one by one


class StudyProgress:
    """A subscriber to a study.

    Args:
        console: where to write; stderr.
        study: which is trained.
        forecast: what its units will take.
    """

    def __init__(self, console: Console, study: Study, forecast: Forecast) -> None:
        self.console, self.study, self.forecast = console, study, forecast
        self.bars = progress_bars(console)
        self._all = self.bars.add_task("study", total=None, note="", left="")
        self._bar, self._left = RunBar(self.bars), TimeLeft()
        self._names: dict[str, str] = {}  # of the runs under way, by key
        self._ahead: list[Unit] = []
        self._done = self._begun = study.done()
        self._rounds, self._failed, self._findings = 0, set[str](), set[str]()
        self._stages, self._stage, self._epochs, self._trains = 1, 0, 1, False
        self._minute, self._stored = EveryMinute(console), 0

    def __enter__(self) -> StudyProgress:
        self.bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bars.stop()

    def line(self, text: str, indent: int = 2) -> None:
        """Write a paragraph above the bars."""
        paragraph(self.console, text, indent)
        self._minute.written()

    @property
    def left(self) -> str:
        """What of the study is done, and how long the rest takes, in words."""
        seconds = self._left.seconds()
        done = f"{self._done:,} of {counted(self.study.plan.total(), 'run')} done"
        failed = f", {len(self._failed):,} failed" if self._failed else ""
        return done + failed + (f", about {duration(seconds)} left" if seconds else "")

    def __call__(self, event: Event) -> None:
        """Show `event`."""
        if isinstance(event, BatchEnded):
            event = replace(event, losses=self._named(event.losses))
        self._bar(event)
        self._tell(event)
        self._update()

    def _update(self) -> None:
        if not self._rounds:  # nothing is known of what is ahead
            return
        total = max(self.study.plan.total(), 1)
        share = self._begun / total + (1 - self._begun / total) * self._left.done()
        seconds = self._left.seconds()
        left = f"{duration(seconds)} left" if seconds else ""
        self.bars.update(self._all, description=f"{self._done}/{total} runs", total=1.0, completed=share, left=left)

    @singledispatchmethod
    def _tell(self, event: Event) -> None:
        """Those that have no method below are not shown, or by their bar alone."""

    @_tell.register
    def _(self, event: Preparing) -> None:
        if not self._names and not self.console.is_terminal:  # within a unit that would be a line for every run
            self.line(event.what)

    @_tell.register
    def _(self, event: ColumnsInterpreted) -> None:
        for sentence in event.sentences:
            self.line(sentence)

    @_tell.register
    def _(self, event: RoundStarted) -> None:
        self._rounds += 1
        ahead = list(event.units)
        if self._rounds == 1:  # the settings of the second round are not known yet, nor needed for its time
            later = self.study.plan.repeats(dict.fromkeys(self.study.plan.cells, 0))
            ahead += units([run for run in later if self.study.result(run) is None])
        self._ahead = ahead
        timing = forecast_times(self.study, self.forecast).seconds  # simple baselines are over by then
        self._left.plan(ahead, self.forecast.estimates(ahead), timing)

    @_tell.register
    def _(self, event: UnitStarted) -> None:
        self._done = self.study.done()
        for unit in self._ahead:  # what other processes have finished
            if all(self.study.result(run) is not None for run in unit.runs):
                self._left.drop(unit)
        self._names = names(event.unit.runs)
        self._stages, self._stage, self._trains = 1, 0, False
        self._left.begin(event.unit)
        together = f" ({counted(len(event.unit.runs), 'run')} together)" if len(event.unit.runs) > 1 else ""
        self.line(f"{listing(self._names.values())}{together}; {self.left}")

    @_tell.register
    def _(self, event: RunStarted) -> None:
        self._stages = max(1, len(event.stages))

    @_tell.register
    def _(self, event: StageStarted) -> None:
        self._stage += 1

    @_tell.register
    def _(self, event: StatesProgress) -> None:
        self._left.reached("before", event.done / max(event.total, 1))
        self._meanwhile(states_reached(event))

    @_tell.register
    def _(self, event: Resumed) -> None:
        self.line(f"  resuming after step {event.step} (epoch {event.epoch + 1})")

    @_tell.register
    def _(self, event: StatesStored) -> None:
        self._stored += event.bytes
        if event.split != "train":  # the last that training reads
            self.line(f"  layer states take {readable(self._stored)} in {event.path}; `trunkline states prune` removes them")
            self._stored = 0

    @_tell.register
    def _(self, event: TrainingStarted) -> None:
        self._epochs, self._trains = event.epochs, True

    @_tell.register
    def _(self, event: BatchEnded) -> None:
        share = (event.epoch + event.batch / event.batches) / self._epochs
        self._left.reached("training", min(1.0, (max(self._stage - 1, 0) + share) / self._stages))
        epochs = max(self._epochs, event.epoch + 1)
        self._meanwhile(f"{self._of_stages}epoch {event.epoch + 1} of {epochs}, {event.batch / event.batches:.0%}")

    @_tell.register
    def _(self, event: EvaluationProgress) -> None:
        self._meanwhile(judged_reached(event))

    @_tell.register
    def _(self, event: EpochEnded) -> None:
        self._meanwhile(f"{self._of_stages}epoch {event.epoch} of {event.epochs}")

    @_tell.register
    def _(self, event: Finding) -> None:
        if self._trains or event.text in self._findings:  # what is found of single runs is in their result.json
            return
        self._findings.add(event.text)
        if len(self._findings) <= MOST_FINDINGS:
            self.line(f"  note: {from_here(event.text)}", indent=4)

    @_tell.register
    def _(self, event: UnitEnded) -> None:
        self._bar.remove()
        self._left.end(event.unit, event.seconds)
        self._done = self.study.done()
        self._failed = self._failed - event.results.keys() | event.failed.keys()
        if event.results:
            best = best_of(event.results, self._names)
            self.line(f"  took {duration(event.seconds)}; on validation {best}; {self.left}", indent=4)
        for key, why in event.failed.items():
            self.line(f"  failed: {self._names[key]}: {from_here(why)}", indent=4)

    @_tell.register
    def _(self, event: UnitsElsewhere) -> None:
        self._bar.show("waiting")
        for unit in event.units:
            self._left.drop(unit)
            self.line(f"another process trains {listing(names(unit.runs).values())}; waiting for it")

    @property
    def _of_stages(self) -> str:
        return f"stage {self._stage} of {self._stages}, " if self._stages > 1 else ""

    def _meanwhile(self, what: str) -> None:
        """Say in a log, once a minute, how far that which is under way has come."""
        if self._minute.due:
            self.line(f"  {what}; {self.left}")

    def _named(self, losses: Mapping[str, Any]) -> dict[str, Any]:
        """Losses by the method and the task; of several runs of one method in a stack, those of the first."""
        found: dict[str, Any] = {}
        for key, loss in losses.items():
            run, slash, task = key.partition("/")
            if not (slash and run in self._names):  # of a run by itself
                [run, *_], task = self._names, key
            found.setdefault(f"{self._names[run].partition(', ')[0]}, {task}", loss)
        return found


def names(runs: Iterable[PlannedRun]) -> dict[str, str]:
    """By key, what runs are called among each other: the method, and the settings and the seed where they differ within it."""
    runs = list(runs)
    found = {}
    for run in runs:
        alike = [other for other in runs if other.cell.method == run.cell.method]
        parts = [run.cell.method]
        for what in ("trunk", "size", "regime"):
            if len({getattr(other.cell, what) for other in runs}) > 1:
                parts.append(f"{what} {getattr(run.cell, what)}")
        if len({other.choice for other in alike}) > 1 or len(runs) == 1:
            parts += [f"{key.rpartition('.')[2]} {value}" for key, value in run.cell.candidates[run.choice]]
        if len({other.seed for other in alike}) > 1 or len(runs) == 1:
            parts.append(f"seed {run.seed}")
        found[run.key] = ", ".join(parts)
    return found


def listing(called: Collection[str], most: int = MOST_NAMES) -> str:
    """What a run is called; of several runs the first few methods, and how many more there are."""
    names = list(called if len(called) == 1 else dict.fromkeys(name.partition(", ")[0] for name in called))
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def best_of(results: Mapping[str, Mapping[str, Any]], called: Mapping[str, str]) -> str:
    """The best validation score of each task among results, and whose it is."""
    found = []
    tasks = next(iter(results.values()))["tasks"]
    for name, task in list(tasks.items())[:MOST_TASKS]:
        metric, sign = task["monitor"], -1 if task["monitor"] in LOWER_IS_BETTER else 1
        scores = {key: result["tasks"][name]["validation"].get(metric) for key, result in results.items()}
        known = {key: score for key, score in scores.items() if score is not None}
        best = max(known, key=lambda key: sign * known[key], default=None)
        shown = "-" if best is None else f"{known[best]:.4f}"
        whose = f" ({called[best]})" if best is not None and len(results) > 1 else ""
        found.append(f"{name} {metric_name(metric, task.get('positive'))} {shown}{whose}")
    if len(tasks) > MOST_TASKS:
        found.append(f"and {len(tasks) - MOST_TASKS} more")
    return ", ".join(found)
