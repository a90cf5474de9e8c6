"""The progress of a fit, on stderr: findings, bars where stderr is a terminal, and a line for every epoch."""

from __future__ import annotations

from collections.abc import Iterable
from functools import singledispatchmethod
from types import TracebackType

from rich.console import Console

from trunkline.errors import listed
from trunkline.events import (
    AlreadyFinished,
    BatchEnded,
    ColumnsInterpreted,
    EpochEnded,
    Evaluated,
    EvaluationProgress,
    Event,
    Finding,
    Preparing,
    Resumed,
    RoundEnded,
    RunEnded,
    RunStarted,
    SearchEnded,
    SearchStarted,
    StagesKept,
    StageStarted,
    StatesProgress,
    StatesStored,
    TimeEstimated,
    TrainingStarted,
    metric_name,
)
from trunkline.terminal import from_here
from trunkline.trackers.lines import ProgressLines, stderr_of_python
from trunkline.trackers.wording import counted, described, told_finalists, told_round, told_search

MOST_TASKS, MOST_SENTENCES = 8, 30  # tasks that are shown one by one; columns and findings
CHOSEN = ("tuned", "per_label")  # thresholds that are chosen on validation


def shown_from_python() -> FitProgress:
    """The progress of a fit that a program has called: on stderr, as plain lines where that is no terminal (a notebook)."""
    return FitProgress(stderr_of_python(), fresh="fresh=True")


def _tails(sentences: Iterable[str]) -> set[str]:
    """What sentences say behind the source that they begin with, which a run calls by its absolute path."""
    return {sentence.partition(": ")[2] or sentence for sentence in sentences}


class FitProgress:
    """A subscriber to a fit, for a terminal or a log.

    Args:
        console: where to write; stderr.
        told: findings about the data that were written already, and are not written again.
        fresh: how a user says that a run is to be trained again.
    """

    def __init__(self, console: Console, told: Iterable[str] = (), fresh: str = "--fresh") -> None:
        self._told = _tails(told)
        self.fresh, self.lines = fresh, ProgressLines(console, fresh)
        self.line = self.lines.line
        self._monitors: dict[str, str] = {}
        self._positive: dict[str, str | None] = {}
        self._epochs = 0
        self._evaluation: Evaluated | None = None
        self._findings = self._stored = 0
        self._last, self._patience = 0, 0
        self._staged = False

    def __enter__(self) -> FitProgress:
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
    def _(self, event: Finding) -> None:
        if self._told & _tails([event.text]):
            return
        self._findings += 1
        if self._findings <= MOST_SENTENCES:
            self.line(f"note: {from_here(event.text)}")

    @_tell.register
    def _(self, event: ColumnsInterpreted) -> None:
        for sentence in event.sentences[:MOST_SENTENCES]:
            self.line(sentence)
        if (more := len(event.sentences) - MOST_SENTENCES) > 0:
            self.line(f"and {counted(more, 'more column')}")
        self._told |= _tails(event.sentences)

    @_tell.register
    def _(self, event: Preparing) -> None:
        self.lines.begins(event.what)

    @_tell.register
    def _(self, event: RunStarted) -> None:
        self._monitors = {task.name: task.monitor for task in event.tasks}
        self._positive = {task.name: task.positive for task in event.tasks}
        self._staged = bool(event.stages)
        trained = {} if event.stages else event.trained_parameters  # each stage has its own, shown when it starts
        for task in event.tasks[:MOST_TASKS]:
            space = (
                f"{task.types} {'type' if task.types == 1 else 'types'} of span"
                if task.types is not None
                else f"{task.labels} labels"
                if task.labels is not None
                else "a number"
            )
            own = trained.get(task.name)
            self.line(f"task {task.name}: {task.kind}, {space}" + (f"; {own:,} weights to train" if own is not None else ""))
            for sentence in described(task.data):
                self.line(f"  {sentence}", indent=4)
            if task.kind == "multilabel" and event.config["tasks"].get(task.name, {}).get("threshold") in CHOSEN:
                self.line("  epochs are judged at a threshold of 0.5; the final one is chosen on validation", indent=4)
        if more := event.tasks[MOST_TASKS:]:
            self.line(f"and {counted(len(more), 'more task')}: {listed([task.name for task in more], 12, quoted=False)}")
        if shared := sum(count for who, count in trained.items() if who not in self._monitors):
            self.line(f"{shared:,} weights to train together")

    @_tell.register
    def _(self, event: StagesKept) -> None:
        are, names = "is" if len(event.names) == 1 else "are", ", ".join(event.names)
        self.line(f"resuming: {len(event.names)} of {event.total} stages {are} done ({names}); {self.fresh} trains again")

    @_tell.register
    def _(self, event: StageStarted) -> None:
        self.line(f"stage {event.name}: trains {', '.join(event.tasks)}; {event.trained_parameters:,} weights to train")

    @_tell.register
    def _(self, event: StatesProgress) -> None:
        self.lines.states(event)

    @_tell.register
    def _(self, event: StatesStored) -> None:
        self._stored += event.bytes
        if event.split != "train":  # the last that training reads
            self.line(
                f"layer states take {self._stored / 1e6:,.0f} MB in {event.path} and are used again; `trunkline states prune` "
                "removes them"
            )
            self._stored = 0

    @_tell.register
    def _(self, event: RunEnded) -> None:
        if (more := self._findings - MOST_SENTENCES) > 0:
            self.line(f"and {counted(more, 'more note')} in result.json")
        if event.outcome == "finished" and 0 < self._last < self._epochs and not self._staged:
            self.line(
                f"training ended early, after {self._last} of {counted(self._epochs, 'epoch')}: no better validation score in "
                f"{counted(self._patience, 'evaluation')}"
            )

    @_tell.register
    def _(self, event: Resumed) -> None:
        self.lines.resumed(event)

    @_tell.register
    def _(self, event: AlreadyFinished) -> None:
        self.line(f"{event.path}: run already completed; showing its result ({self.fresh} trains again)")

    @_tell.register
    def _(self, event: TrainingStarted) -> None:
        self.lines.training_starts(event.epochs)
        self._epochs = event.epochs
        about = "about " if event.varying else ""
        total = f" ({about}{event.steps * event.epochs:,} in all)" if event.epochs > 1 else ""
        epochs, early, self._patience = counted(event.epochs, "epoch"), "", event.patience or 0
        if event.patience is not None and event.epochs > 1:
            epochs = f"at most {epochs}"
            early = f", ending early after {counted(event.patience, 'evaluation')} without a better score"
        self.line(f"{epochs} of {about}{counted(event.steps, 'step')}{total}{early}")
        self.line("* marks the best validation score so far, whose weights are kept")

    @_tell.register
    def _(self, event: SearchStarted) -> None:
        self.lines.training_starts(event.epochs, alike=False)  # candidates drop out
        self.line(told_search(event))

    @_tell.register
    def _(self, event: RoundEnded) -> None:
        self.line(told_round(event, metric_name(self._monitors.get(event.task, ""), self._positive.get(event.task))))

    @_tell.register
    def _(self, event: SearchEnded) -> None:
        self.line(told_finalists(event))

    @_tell.register
    def _(self, event: TimeEstimated) -> None:
        self.lines.estimated(event)

    @_tell.register
    def _(self, event: BatchEnded) -> None:
        self._flush()
        self.lines.batch(event)

    @_tell.register
    def _(self, event: EvaluationProgress) -> None:
        self.lines.judging(event)

    @_tell.register
    def _(self, event: Evaluated) -> None:
        self._flush()
        self._evaluation = event  # the epoch may end with it, and then they share a line

    @_tell.register
    def _(self, event: EpochEnded) -> None:
        self.lines.epoch(event, self._scores())
        self._evaluation, self._last = None, event.epoch

    def _flush(self) -> None:
        """Write the evaluation that no end of an epoch came for."""
        if self._evaluation is not None:
            self.line(f"step {self._evaluation.step}  {self._scores()}")
            self._evaluation = None

    def _scores(self) -> str:
        parts = []
        judged = dict(self._evaluation.tasks if self._evaluation else {})
        for name, found in list(judged.items())[:MOST_TASKS]:
            task = name.rpartition("/")[2]  # runs that are trained together have names before it
            metric = self._monitors.get(task, "")
            score = found["validation"].get(metric)
            shown = "-" if score is None else f"{score:.4f}"
            named = metric_name(metric, self._positive.get(task)).replace(" ", "\u00a0")
            parts.append(f"{name}\u00a0{named}\u00a0{shown}{'*' if found['best'] else ' '}")
        if len(judged) > MOST_TASKS:
            parts.append(f"and\u00a0{len(judged) - MOST_TASKS:,}\u00a0more")
        return "  ".join(parts)
