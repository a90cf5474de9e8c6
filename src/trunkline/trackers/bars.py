"""Bars on a terminal: how far work has come, and what a run is doing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, Task, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from trunkline.events import BatchEnded, EvaluationProgress, Event, Preparing, SearchStarted, StatesProgress, TrainingStarted
from trunkline.terminal import leads
from trunkline.trackers.wording import judged_reached

BAR_WIDTH = 42  # characters of the epoch, the shortest bar, the percentage and the time beside the losses
REFRESH = 0.2  # seconds between looks at the loss: reading it from a GPU waits for the GPU


def losses_note(losses: Mapping[str, float], width: int) -> str:
    """The losses of as many tasks as fit into a number of characters, and how many more there are."""
    note = "loss"
    for count, (name, loss) in enumerate(losses.items()):
        more = f"  +{len(losses) - count - 1}" if count + 1 < len(losses) else ""
        part = f"{'  ' if count else ' '}{name} {loss:.3f}"
        if cell_len(note + part + more) > width:
            return f"{note}  +{len(losses) - count}" if count else f"loss {loss:.3f}{more}"
        note += part
    return note


def progress_bars(console: Console) -> Progress:
    """Bars that vanish when done; nothing at all where the console is no terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None, table_column=Column(min_width=10, max_width=40, ratio=1)),
        TaskProgressColumn(),
        _TimeLeft(compact=True),
        TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
        console=console,
        expand=True,
        transient=True,
        disable=not (console.is_terminal and leads()),
    )


class _TimeLeft(TimeRemainingColumn):
    """The time left by the speed so far, but for a bar that says it itself, as its field `left`."""

    def render(self, task: Task) -> Text:
        left = task.fields.get("left")
        return super().render(task) if left is None else Text(left, style="progress.remaining")


@contextmanager
def counting(console: Console, description: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with the number of texts that were done since the last call; a bar shows it meanwhile."""
    with progress_bars(console) as bars:
        bar = bars.add_task(description, total=total, note="")
        yield lambda more: bars.advance(bar, more)


class RunBar:
    """A subscriber to a run that shows what it is doing as one bar, among others of `bars`."""

    def __init__(self, bars: Progress) -> None:
        self.bars = bars
        self._bar: Any = None
        self._what: tuple[object, ...] = ()
        self._epochs, self._looked = 0, 0.0

    def show(self, what: str) -> None:
        """Show that something is being done whose end is not known."""
        self._show((what,), what, None)

    def remove(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self.bars.remove_task(self._bar)
        self._bar, self._what = None, ()

    def __call__(self, event: Event) -> None:
        """Show `event`."""
        if isinstance(event, Preparing):
            self.show(event.what)
        elif isinstance(event, StatesProgress):
            if event.done == 0:
                self._show(
                    ("states", event.split), f"computing layer states of {event.split}: {event.total:,} tokens", event.total
                )
            self.bars.update(self._bar, completed=event.done)
        elif isinstance(event, SearchStarted | TrainingStarted):
            self._epochs, self._what = event.epochs, ()  # another stage has another bar
        elif isinstance(event, BatchEnded):
            self._batch(event)
        elif isinstance(event, EvaluationProgress) and self._bar is not None and time.monotonic() - self._looked > REFRESH:
            self.bars.update(self._bar, note=judged_reached(event))
            self._looked = time.monotonic()

    def _batch(self, event: BatchEnded) -> None:
        epochs = max(self._epochs, event.epoch + 1)
        self._show(("training",), "training", epochs * event.batches)
        done = event.epoch * event.batches + event.batch
        self.bars.update(self._bar, description=f"epoch {event.epoch + 1}/{epochs}", completed=done)
        if not self.bars.disable and time.monotonic() - self._looked > REFRESH:
            losses = {name: float(loss) for name, loss in event.losses.items()}
            self.bars.update(self._bar, note=losses_note(losses, self.bars.console.width - BAR_WIDTH))
            self._looked = time.monotonic()

    def _show(self, what: tuple[object, ...], description: str, total: float | None) -> None:
        """Put a new bar in the place of the one before, unless it is the same."""
        if what != self._what:
            self.remove()
            self._bar, self._what = self.bars.add_task(description, total=total, note=""), what
