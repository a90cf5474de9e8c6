"""What a running fit tells, on stderr: findings, bars where stderr is a terminal, and a line for every epoch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import singledispatchmethod
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from trunkline.events import (
    AlreadyFinished,
    BatchEnded,
    ColumnsInterpreted,
    EpochEnded,
    Evaluated,
    Event,
    Finding,
    Resumed,
    RunStarted,
    StagesKept,
    StageStarted,
    StatesProgress,
)
from trunkline.terminal import leads, wrapped

REFRESH = 0.2  # seconds between looks at the loss: reading it from a GPU waits for the GPU


def progress_bars(console: Console) -> Progress:
    """Bars that vanish when done; nothing at all where the console is no terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}"),
        console=console,
        transient=True,
        disable=not (console.is_terminal and leads()),
    )


@contextmanager
def counting(console: Console, description: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Yield a function that is told how many more texts are done; a bar shows it while the block runs."""
    with progress_bars(console) as bars:
        bar = bars.add_task(description, total=total, note="")
        yield lambda more: bars.advance(bar, more)


def shown_from_python() -> FitProgress:
    """The progress of a fit that a program has called: on stderr, as plain lines where that is no terminal (a notebook)."""
    return FitProgress(Console(stderr=True, highlight=False, emoji=False, force_jupyter=False))


class FitProgress:
    """A subscriber to a fit, for a terminal or a log.

    Args:
        console: where to write; stderr.
    """

    def __init__(self, console: Console) -> None:
        self.console, self.bars = console, progress_bars(console)
        self._bar: Any = None
        self._what: tuple[object, ...] = ()
        self._monitors: dict[str, str] = {}
        self._evaluation: Evaluated | None = None
        self._looked = self._began = 0.0

    def __enter__(self) -> FitProgress:
        self.bars.start()
        self._show(("opening",), "reading the data and the trunk", None)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bars.stop()

    @singledispatchmethod
    def __call__(self, event: Event) -> None:
        """Show `event`; those that have no method below are not shown."""

    def line(self, text: str, indent: int = 2) -> None:
        """Write a paragraph above the bars."""
        for part in wrapped(text.rstrip(), self.console.width if self.console.is_terminal else None, indent):
            self.console.print(part, markup=False, soft_wrap=True)

    def _show(self, what: tuple[object, ...], description: str, total: float | None) -> None:
        """Put a new bar in the place of the one before, unless it is the same."""
        if what != self._what:
            if self._bar is not None:
                self.bars.remove_task(self._bar)
            self._bar, self._what = self.bars.add_task(description, total=total, note=""), what
            self._began = time.monotonic()

    @__call__.register
    def _(self, event: Finding) -> None:
        self.line(f"note: {event.text}")

    @__call__.register
    def _(self, event: ColumnsInterpreted) -> None:
        for sentence in event.sentences:
            self.line(sentence)

    @__call__.register
    def _(self, event: RunStarted) -> None:
        self._monitors = {task.name: task.monitor for task in event.tasks}
        trained = {} if event.stages else event.trained_parameters  # a stage tells its count when it comes
        for task in event.tasks:
            space = (
                f"{task.types} {'type' if task.types == 1 else 'types'} of span"
                if task.types is not None
                else f"{task.labels} labels"
                if task.labels is not None
                else "a number"
            )
            own = trained.get(task.name)
            self.line(f"task {task.name}: {task.kind}, {space}" + (f"; {own:,} weights to train" if own is not None else ""))
        if shared := sum(count for who, count in trained.items() if who not in self._monitors):
            self.line(f"{shared:,} weights to train together")

    @__call__.register
    def _(self, event: StagesKept) -> None:
        are, names = "is" if len(event.names) == 1 else "are", ", ".join(event.names)
        self.line(f"going on: {len(event.names)} of {event.total} stages {are} done ({names}); --fresh would begin anew")

    @__call__.register
    def _(self, event: StageStarted) -> None:
        self.line(f"stage {event.name}: trains {', '.join(event.tasks)}; {event.trained_parameters:,} weights to train")

    @__call__.register
    def _(self, event: StatesProgress) -> None:
        what = f"layer states of {event.split}"
        self._show(("states", event.split), what, event.total)
        self.bars.update(self._bar, completed=event.done)
        if event.done == event.total:
            self.line(f"{what}: {event.total:,} tokens computed in {time.monotonic() - self._began:.1f} s and stored")

    @__call__.register
    def _(self, event: Resumed) -> None:
        self.line(f"resuming after step {event.step} (epoch {event.epoch + 1}); --fresh would begin anew")

    @__call__.register
    def _(self, event: AlreadyFinished) -> None:
        self.line(f"{event.path} holds this very run, finished; showing its result (--fresh trains anew)")

    @__call__.register
    def _(self, event: BatchEnded) -> None:
        self._flush()
        self._show(("epoch", event.epoch), f"epoch {event.epoch + 1}", event.batches)
        self.bars.update(self._bar, completed=event.batch)
        if not self.bars.disable and time.monotonic() - self._looked > REFRESH:
            note = "  ".join(f"{name} {float(loss):.3f}" for name, loss in event.losses.items())
            self.bars.update(self._bar, note=f"loss {note}")
            self._looked = time.monotonic()

    @__call__.register
    def _(self, event: Evaluated) -> None:
        self._flush()
        self._evaluation = event  # the epoch may end with it, and then they share a line

    @__call__.register
    def _(self, event: EpochEnded) -> None:
        count = f"epoch {event.epoch:>{len(str(event.epochs))}}/{event.epochs}"
        self.line(f"{count}  {event.seconds:6.1f} s  {self._scores()}".replace("  ", "\u00a0 "), indent=len(count) + 2)
        self._evaluation = None

    def _flush(self) -> None:
        """Write the evaluation that no end of an epoch came for."""
        if self._evaluation is not None:
            self.line(f"step {self._evaluation.step}  {self._scores()}")
            self._evaluation = None

    def _scores(self) -> str:
        parts = []
        for name, found in (self._evaluation.tasks if self._evaluation else {}).items():
            metric = self._monitors.get(name, "")
            score = found["validation"].get(metric)
            shown = "-" if score is None else f"{score:.4f}"
            parts.append(f"{name}\u00a0{metric}\u00a0{shown}{'*' if found['best'] else ' '}")
        return "  ".join(parts)
