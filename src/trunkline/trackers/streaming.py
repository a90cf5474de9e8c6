"""The progress of work on a source of which the rows are not counted before: rows done, their number a second, time left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from trunkline.terminal import leads
from trunkline.trackers import every_minute
from trunkline.trackers.every_minute import EveryMinute
from trunkline.trackers.wording import counted, duration

PERIOD = 30  # seconds over which a speed is measured


@contextmanager
def streaming(console: Console, description: str) -> Iterator[Callable[[int, float | None], None]]:
    """Yield a function to call with the rows done and the share of the source that is done, if it is known; a bar shows both.

    Where the console is no terminal, a line a minute does.
    """
    if not console.is_terminal:
        yield _lines(console, description)
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not leads(),
    ) as bars:
        bar, speed = bars.add_task(description, total=None, note=""), _Speed()

        def show(rows: int, share: float | None) -> None:
            note = f"{counted(rows, 'row')}, {speed.of(rows):,.0f} a second"
            bars.update(bar, total=None if share is None else 1.0, completed=share or 0, note=note)

        yield show


class _Speed:
    """Rows a second, over the last PERIOD seconds or so: those that are there from an earlier run go by quickly."""

    def __init__(self) -> None:
        self._seen = [(every_minute.now(), 0)]

    def of(self, rows: int) -> float:
        now = every_minute.now()
        self._seen.append((now, rows))
        while len(self._seen) > 2 and now - self._seen[1][0] > PERIOD:
            del self._seen[0]
        began, before = self._seen[0]
        return max(0.0, rows - before) / max(now - began, 1e-9)


def _lines(console: Console, description: str) -> Callable[[int, float | None], None]:
    speed, shares, minute = _Speed(), _Speed(), EveryMinute(console)

    def show(rows: int, share: float | None) -> None:
        found, ahead = speed.of(rows), shares.of(int((share or 0) * 1e9)) / 1e9
        if not minute.due:
            return
        minute.written()
        left = ""
        if share is not None and ahead > 0:
            left = f" ({share:.0%}), about {duration((1 - share) / ahead)} left"
        console.print(f"{description}: {counted(rows, 'row')}{left}; {found:,.0f} a second", markup=False, soft_wrap=True)

    return show
