"""What a running fit tells, on stderr: findings, bars where stderr is a terminal, and a line for every epoch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from trunkline.cli.common import leads, wrapped

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


class FitProgress:
    """The `say` of `trunkline.fit` for a terminal or a log.

    Args:
        console: where to write; stderr.
    """

    def __init__(self, console: Console) -> None:
        self.console, self.bars = console, progress_bars(console)
        self._bar: Any = None
        self._what: tuple[object, ...] = ()
        self._monitors: dict[str, str] = {}
        self._evaluation: dict[str, Any] | None = None
        self._looked = self._began = 0.0

    def __enter__(self) -> FitProgress:
        self.bars.start()
        self._show(("opening",), "reading the data and the trunk", None)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bars.stop()

    def __call__(self, event: str, **fields: Any) -> None:
        if handler := getattr(self, f"_on_{event}", None):
            handler(**fields)

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

    def _on_finding(self, text: str) -> None:
        self.line(f"note: {text}")

    def _on_tasks(self, tasks: dict[str, Any], cost: Any, staged: bool, **_: Any) -> None:
        self._monitors = {name: task.monitor for name, task in tasks.items()}
        for name, task in tasks.items():
            types = getattr(task, "types", None)
            space = (
                f"{len(types)} {'type' if len(types) == 1 else 'types'} of span"
                if types is not None
                else f"{len(task.labels)} labels"
                if task.labels and task.kind != "regression"
                else "a number"
            )
            own = None if staged else cost.trained_parameters.get(name)  # a stage tells its count when it comes
            self.line(f"task {name}: {task.kind}, {space}" + (f"; {own:,} weights to train" if own is not None else ""))
        if not staged and (shared := sum(n for who, n in cost.trained_parameters.items() if who not in tasks)):
            self.line(f"{shared:,} weights to train together")

    def _on_stages_done(self, names: list[str], stages: int) -> None:
        are = "is" if len(names) == 1 else "are"
        self.line(f"going on: {len(names)} of {stages} stages {are} done ({', '.join(names)}); --fresh would begin anew")

    def _on_stage(self, name: str, tasks: tuple[str, ...], weights: int) -> None:
        self.line(f"stage {name}: trains {', '.join(tasks)}; {weights:,} weights to train")

    def _on_states(self, split: str, done: int, total: int) -> None:
        self._show(("states", split), f"layer states of {split}", total)
        self.bars.update(self._bar, completed=done)
        if done == total:
            self.line(
                f"layer states of {split}: {total:,} tokens computed in {time.monotonic() - self._began:.1f} s and stored"
            )

    def _on_resumed(self, epoch: int, step: int) -> None:
        self.line(f"resuming after step {step} (epoch {epoch + 1}); --fresh would begin anew")

    def _on_finished_before(self, path: Path) -> None:
        self.line(f"{path} holds this very run, finished; showing its result (--fresh trains anew)")

    def _on_batch(self, epoch: int, batch: int, batches: int, losses: dict[str, Any]) -> None:
        self._flush()
        self._show(("epoch", epoch), f"epoch {epoch + 1}", batches)
        self.bars.update(self._bar, completed=batch)
        if not self.bars.disable and time.monotonic() - self._looked > REFRESH:
            note = "  ".join(f"{name} {float(loss):.3f}" for name, loss in losses.items())
            self.bars.update(self._bar, note=f"loss {note}")
            self._looked = time.monotonic()

    def _on_evaluation(self, **entry: Any) -> None:
        self._flush()
        self._evaluation = entry  # the epoch may end with it, and then they share a line

    def _on_epoch(self, epoch: int, epochs: int, seconds: float, evaluation_seconds: float, tokens: float) -> None:
        count = f"epoch {epoch:>{len(str(epochs))}}/{epochs}"
        self.line(f"{count}  {seconds:6.1f} s  {self._scores()}".replace("  ", "\u00a0 "), indent=len(count) + 2)
        self._evaluation = None

    def _flush(self) -> None:
        """Write the evaluation that no end of an epoch came for."""
        if self._evaluation is not None:
            self.line(f"step {self._evaluation['step']}  {self._scores()}")
            self._evaluation = None

    def _scores(self) -> str:
        parts = []
        for name, found in (self._evaluation or {"tasks": {}})["tasks"].items():
            metric = self._monitors.get(name, "")
            score = found["validation"].get(metric)
            shown = "-" if score is None else f"{score:.4f}"
            parts.append(f"{name}\u00a0{metric}\u00a0{shown}{'*' if found['best'] else ' '}")
        return "  ".join(parts)
