"""What fits, studies and distillations write alike to stderr: bars where that is a terminal, and paragraphs above them."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console

from trunkline.events import BatchEnded, EpochEnded, EvaluationProgress, Resumed, StatesProgress, TimeEstimated
from trunkline.terminal import wrapped
from trunkline.trackers import every_minute
from trunkline.trackers.bars import RunBar, progress_bars
from trunkline.trackers.every_minute import EveryMinute
from trunkline.trackers.wording import duration, judged_reached, states_reached


def stderr_of_python() -> Console:
    """The console of a call that a program has made: plain lines where stderr is no terminal (a notebook)."""
    return Console(stderr=True, highlight=False, emoji=False, force_jupyter=False)


def paragraph(console: Console, text: str, indent: int = 2) -> None:
    """Write a paragraph above what bars the console has: broken between words on a terminal, one line elsewhere."""
    for part in wrapped(text.rstrip(), console.width if console.is_terminal else None, indent):
        console.print(part, markup=False, soft_wrap=True)


class ProgressLines:
    """The bars and lines of one training.

    Args:
        console: where to write.
        fresh: how a user says that it is to be trained again.
    """

    def __init__(self, console: Console, fresh: str) -> None:
        self.console, self.fresh, self.bars = console, fresh, progress_bars(console)
        self.bar = RunBar(self.bars)
        self._minute = EveryMinute(console)
        self._states_began, self._seconds, self._epochs = 0.0, 0.0, 0
        self._total, self._alike = 0, False
        self._first: tuple[float, float] | None = None  # when the first batch of this launch ended, and the epochs until then

    def __enter__(self) -> Self:
        self.bars.start()
        self.bar.show("starting")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bars.stop()

    def line(self, text: str, indent: int = 2) -> None:
        """Write a paragraph above the bars."""
        paragraph(self.console, text, indent)
        self._minute.written()

    def begins(self, what: str) -> None:
        """Write that a step begins, where no bar shows it."""
        if not self.console.is_terminal:
            self.line(what)

    def states(self, event: StatesProgress) -> None:
        """Write where the computing of layer states begins and ends, and how far it is in between."""
        what = f"layer states of {event.split}"
        if event.done == 0:
            self._states_began = every_minute.now()
            self.begins(f"computing {what}: {event.total:,} tokens")
        if event.done == event.total:
            took = every_minute.now() - self._states_began
            self.line(f"{what}: {event.total:,} tokens computed in {took:.1f} s and stored")
        if event.done:
            self._meanwhile(states_reached(event), self._states_began, event.done, event.total)

    def resumed(self, event: Resumed) -> None:
        """Write where a training is resumed."""
        self.line(f"resuming after step {event.step} (epoch {event.epoch + 1}); {self.fresh} trains again")

    def training_starts(self, epochs: int, alike: bool = True) -> None:
        """Measure the time of at most so many epochs anew, as another stage has others.

        Args:
            epochs: their number.
            alike: they take about the same time each, so that what is left can be told from those that were trained.
        """
        self._seconds, self._epochs = 0.0, 0
        self._total, self._alike, self._first = epochs, alike, None

    def batch(self, event: BatchEnded) -> None:
        """Write how far a long epoch is."""
        share = event.batch / event.batches
        reached = event.epoch + share
        self._first = began, first = self._first or (every_minute.now(), reached)
        of = f" of {self._total}" if event.epoch < self._total else ""  # not known of a training that is shown in part
        what = f"epoch {event.epoch + 1}{of}, {share:.0%}"
        self._meanwhile(what, began, reached - first, self._total - first if of and self._alike else 0.0)

    def judging(self, event: EvaluationProgress) -> None:
        """Write how far a long evaluation is."""
        self._meanwhile(judged_reached(event), 0.0, 0.0, 0.0)

    def _meanwhile(self, what: str, began: float, done: float, total: float) -> None:
        """Write in a log, once a minute, how far that which is under way has come.

        Args:
            what: it is, and where.
            began: when.
            done: since then, in any unit.
            total: in the same unit; 0 where it is not known.
        """
        if self._minute.due:
            left = (every_minute.now() - began) * (total / done - 1) if done and total else 0.0
            self.line(f"{what}; about {duration(left)} left" if left >= 1 else what)

    def estimated(self, event: TimeEstimated) -> None:
        """Write how long all epochs take, unless one has ended: its line says more."""
        if not self._epochs:
            self.line(f"all epochs take about {duration(event.seconds)}, by the speed of the first steps")

    def epoch(self, event: EpochEnded, found: str) -> None:
        """Write the line of an epoch: its time, what was `found`, and the time that is left."""
        self._seconds, self._epochs = self._seconds + event.seconds + event.evaluation_seconds, self._epochs + 1
        left = (event.epochs - event.epoch) * self._seconds / self._epochs
        ahead = f"  about {duration(left)} left" if left >= 1 else ""
        count = f"epoch {event.epoch:>{len(str(event.epochs))}}/{event.epochs}"
        self.line(f"{count}  {event.seconds:6.1f} s  {found}{ahead}".replace("  ", "\u00a0 "), indent=len(count) + 2)
