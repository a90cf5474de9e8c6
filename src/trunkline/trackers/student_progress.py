"""The progress of a distillation, on stderr: findings, bars where stderr is a terminal, and a line for every epoch."""

from __future__ import annotations

import time
from functools import singledispatchmethod
from types import TracebackType

from rich.console import Console

from trunkline.events import (
    AlreadyFinished,
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
from trunkline.terminal import from_here, wrapped
from trunkline.trackers.bars import RunBar, progress_bars
from trunkline.trackers.wording import counted, duration


def shown_from_python() -> StudentProgress:
    """The progress of a distillation that a program has called."""
    return StudentProgress(Console(stderr=True, highlight=False, emoji=False, force_jupyter=False), fresh="fresh=True")


class StudentProgress:
    """A subscriber to a distillation, for a terminal or a log.

    Args:
        console: where to write; stderr.
        fresh: how a user says that a student is to be trained again.
    """

    def __init__(self, console: Console, fresh: str = "--fresh") -> None:
        self.console, self.fresh, self.bars = console, fresh, progress_bars(console)
        self._bar = RunBar(self.bars)
        self._losses: dict[str, float] = {}
        self._began, self._seconds, self._measured = 0.0, 0.0, 0

    def __enter__(self) -> StudentProgress:
        self.bars.start()
        self._bar.show("starting")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bars.stop()

    def __call__(self, event: Event) -> None:
        """Show `event`."""
        self._bar(event)
        self._tell(event)

    def line(self, text: str, indent: int = 2) -> None:
        """Write a paragraph above the bars."""
        for part in wrapped(text.rstrip(), self.console.width if self.console.is_terminal else None, indent):
            self.console.print(part, markup=False, soft_wrap=True)

    @singledispatchmethod
    def _tell(self, event: Event) -> None:
        """Write what there is to say of `event`; of those that have no method below, nothing."""

    @_tell.register
    def _(self, event: Preparing) -> None:
        if not self.console.is_terminal:  # where no bar shows it
            self.line(event.what)

    @_tell.register
    def _(self, event: Finding) -> None:
        self.line(f"note: {from_here(event.text)}")

    @_tell.register
    def _(self, event: RunStarted) -> None:
        self.line(f"{sum(event.trained_parameters.values()):,} weights to train")

    @_tell.register
    def _(self, event: StatesProgress) -> None:
        what = f"layer states of {event.split}"
        if event.done == 0:
            self._began = time.monotonic()
            if not self.console.is_terminal:
                self.line(f"computing {what}: {event.total:,} tokens")
        if event.done == event.total:
            self.line(f"{what}: {event.total:,} tokens computed in {time.monotonic() - self._began:.1f} s and stored")

    @_tell.register
    def _(self, event: Resumed) -> None:
        self.line(f"resuming after step {event.step} (epoch {event.epoch + 1}); {self.fresh} trains again")

    @_tell.register
    def _(self, event: AlreadyFinished) -> None:
        self.line(f"{event.path}: already completed; showing its result ({self.fresh} trains again)")

    @_tell.register
    def _(self, event: TrainingStarted) -> None:
        about = "about " if event.varying else ""
        self.line(f"{counted(event.epochs, 'epoch')} of {about}{counted(event.steps, 'step')}")

    @_tell.register
    def _(self, event: TimeEstimated) -> None:
        if not self._measured:  # else an epoch has ended, and its line says more
            self.line(f"all epochs take about {duration(event.seconds)}, by the speed of the first steps")

    @_tell.register
    def _(self, event: Evaluated) -> None:
        self._losses = next(iter(event.tasks.values()))["validation"]
        if event.epoch == 0:
            self.line(f"before training: {self._shown()}")

    @_tell.register
    def _(self, event: EpochEnded) -> None:
        self._seconds, self._measured = self._seconds + event.seconds + event.evaluation_seconds, self._measured + 1
        left = (event.epochs - event.epoch) * self._seconds / self._measured
        ahead = f"  about {duration(left)} left" if left >= 1 else ""
        count = f"epoch {event.epoch:>{len(str(event.epochs))}}/{event.epochs}"
        self.line(f"{count}  {event.seconds:6.1f} s  {self._shown()}{ahead}".replace("  ", "\u00a0 "), indent=len(count) + 2)

    def _shown(self) -> str:
        parts = [f"{name} {value:.5f}" for name, value in self._losses.items()]
        if len(self._losses) == 2:  # the total and the only one that it is made of
            parts = parts[1:]
        return "validation " + ", ".join(parts)
