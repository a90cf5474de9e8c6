"""The progress of a distillation, on stderr: findings, bars where stderr is a terminal, and a line for every epoch."""

from __future__ import annotations

from functools import singledispatchmethod
from types import TracebackType

from rich.console import Console

from trunkline.events import (
    AlreadyFinished,
    BatchEnded,
    EpochEnded,
    Evaluated,
    Event,
    Finding,
    Preparing,
    Resumed,
    RunStarted,
    StatesProgress,
    TimeEstimated,
    TrainingStarted,
)
from trunkline.terminal import from_here
from trunkline.trackers.lines import ProgressLines, stderr_of_python
from trunkline.trackers.wording import counted


def shown_from_python() -> StudentProgress:
    """The progress of a distillation that a program has called."""
    return StudentProgress(stderr_of_python(), fresh="fresh=True")


class StudentProgress:
    """A subscriber to a distillation, for a terminal or a log.

    Args:
        console: where to write; stderr.
        fresh: how a user says that a student is to be trained again.
    """

    def __init__(self, console: Console, fresh: str = "--fresh") -> None:
        self.fresh, self.lines = fresh, ProgressLines(console, fresh)
        self.line = self.lines.line
        self._losses: dict[str, float] = {}

    def __enter__(self) -> StudentProgress:
        self.lines.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.lines.__exit__(kind, error, trace)

    def __call__(self, event: Event) -> None:
        """Show `event`."""
        self.lines.bar(event)
        self._tell(event)

    @singledispatchmethod
    def _tell(self, event: Event) -> None:
        """Write what there is to say of `event`; of those that have no method below, nothing."""

    @_tell.register
    def _(self, event: Preparing) -> None:
        self.lines.begins(event.what)

    @_tell.register
    def _(self, event: Finding) -> None:
        self.line(f"note: {from_here(event.text)}")

    @_tell.register
    def _(self, event: RunStarted) -> None:
        self.line(f"{sum(event.trained_parameters.values()):,} weights to train")

    @_tell.register
    def _(self, event: StatesProgress) -> None:
        self.lines.states(event)

    @_tell.register
    def _(self, event: Resumed) -> None:
        self.lines.resumed(event)

    @_tell.register
    def _(self, event: AlreadyFinished) -> None:
        self.line(f"{event.path}: already completed; showing its result ({self.fresh} trains again)")

    @_tell.register
    def _(self, event: TrainingStarted) -> None:
        self.lines.training_starts(event.epochs)
        about = "about " if event.varying else ""
        self.line(f"{counted(event.epochs, 'epoch')} of {about}{counted(event.steps, 'step')}")

    @_tell.register
    def _(self, event: TimeEstimated) -> None:
        self.lines.estimated(event)

    @_tell.register
    def _(self, event: BatchEnded) -> None:
        self.lines.batch(event)

    @_tell.register
    def _(self, event: Evaluated) -> None:
        self._losses = next(iter(event.tasks.values()))["validation"]
        if event.epoch == 0:
            self.line(f"before training: {self._shown()}")

    @_tell.register
    def _(self, event: EpochEnded) -> None:
        self.lines.epoch(event, self._shown())

    def _shown(self) -> str:
        parts = [f"{name} {value:.5f}" for name, value in self._losses.items()]
        if len(self._losses) == 2:  # the total and the only one that it is made of
            parts = parts[1:]
        return "validation " + ", ".join(parts)
