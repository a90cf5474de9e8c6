"""What happens in a run, as typed events, and how they reach those who subscribe: progress displays and trackers.

Events are told in the thread and in the order in which things happen, by the main process of a launch alone. A subscriber
is any function of one event. One that fails gets no more events, and the run continues; one that raises `StopRun`
stops the run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, SupportsFloat

from trunkline.errors import TrunklineError, clipped

BINARY = ("precision", "recall", "f1")  # of two labels, those of the positive one


class StopRun(TrunklineError):
    """Raised by a subscriber to give up the run that it is told of, as a search does with one that is not worth finishing.

    Training stops before the next step, in all processes that share it; what comes before and after training, at once. The run
    then has no result, and all that it has written but config.yaml is deleted, its checkpoint included. `fit` raises the same
    exception, after a `RunEnded` with the outcome "stopped".
    """


@dataclass(frozen=True)
class Event:
    """Something that has happened."""


@dataclass(frozen=True)
class TaskFacts:
    """A task of a run: `labels` is the number of its labels (None for a number), `types` that of its types of span.

    `data` has the rows of each split and of each label; `positive` is the label that precision, recall
    and F1 of a task with two labels are about.
    """

    name: str
    kind: str
    monitor: str
    labels: int | None = None
    types: int | None = None
    positive: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


def metric_name(metric: str, positive: str | None) -> str:
    """A metric as people are shown it: precision, recall and F1 of two labels name the `positive` one that they are about."""
    return metric if positive is None or metric not in BINARY else f"{metric} ({clipped(positive)})"


@dataclass(frozen=True)
class Preparing(Event):
    """What begins now, before training can: "reading the data", "loading the trunk minilm", "tokenizing 1,200 texts"."""

    what: str


@dataclass(frozen=True)
class RunStarted(Event):
    """Training starts or is resumed; comes before all other events but `ColumnsInterpreted` and `Preparing`."""

    path: Path
    identity: str
    config: Mapping[str, Any]  # resolved
    tasks: tuple[TaskFacts, ...]
    trained_parameters: Mapping[str, int]  # of the first stage, by task; tasks that share weights are one, "a+b"
    stages: tuple[str, ...]  # their names; none for a run of one stage


@dataclass(frozen=True)
class Finding(Event):
    """Something about the data, or about how the run is resumed, that its user should know: a sentence."""

    text: str


@dataclass(frozen=True)
class ColumnsInterpreted(Event):
    """How the columns of data that came without a config were interpreted, a sentence each; told before `RunStarted`."""

    sentences: tuple[str, ...]


@dataclass(frozen=True)
class StatesProgress(Event):
    """`done` of `total` tokens of a split are in the states store."""

    split: str
    done: int
    total: int


@dataclass(frozen=True)
class StatesStored(Event):
    """The layer states of a split were computed and take so many `bytes` in stores below the folder `path`."""

    split: str
    path: Path
    bytes: int


@dataclass(frozen=True)
class StagesKept(Event):
    """These of the run's `total` stages were finished before."""

    names: tuple[str, ...]
    total: int


@dataclass(frozen=True)
class StageStarted(Event):
    name: str
    tasks: tuple[str, ...]
    trained_parameters: int


@dataclass(frozen=True)
class Resumed(Event):
    """Training is resumed after `step` steps, in `epoch` (from 0); steps after it are computed again."""

    epoch: int
    step: int


@dataclass(frozen=True)
class TrainingStarted(Event):
    """Comes once layer states are there, after `Resumed`: `steps` of the optimiser in each of at most `epochs`, fewer where the
    validation score does not improve in `patience` evaluations (None: all, as there are no more than so many). `steps` is
    of the first epoch; where batches are bounded by tokens, others have a few more or less (`varying`).
    """

    steps: int
    epochs: int
    patience: int | None = None
    varying: bool = False


@dataclass(frozen=True)
class TimeEstimated(Event):
    """Training and evaluating all epochs takes about so many seconds, by the speed of the first steps."""

    seconds: float


@dataclass(frozen=True)
class BatchEnded(Event):
    """`batch` of `batches` of `epoch` (from 0) are done. Reading a loss may wait for the GPU."""

    epoch: int
    batch: int
    batches: int
    losses: Mapping[str, SupportsFloat]


@dataclass(frozen=True)
class EvaluationProgress(Event):
    """`done` of `total` sequences of a split were read to judge tasks on it; of several processes, as if all were as far as the
    main one. Sequences that no task is judged on are not read, so the last one may stay below `total`.
    """

    split: str
    done: int
    total: int


@dataclass(frozen=True)
class Evaluated(Event):
    """The tasks were judged on validation after `step` steps, in `epoch` (from 1).

    `tasks` has by name the metrics (`validation`), whether they are the `best` so far, the mean loss of the training batches
    since the evaluation before (`train_loss`), and the share of each of its `layers`. `learning_rates` has by task that of the
    last step.
    """

    step: int
    epoch: int
    tasks: Mapping[str, Mapping[str, Any]]
    learning_rates: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class EpochEnded(Event):
    """`epoch` of `epochs` is done, after `step` steps: seconds of training and of evaluating, and the tokens read."""

    epoch: int
    epochs: int
    seconds: float
    evaluation_seconds: float
    tokens: int
    step: int = 0


@dataclass(frozen=True)
class SearchStarted(Event):
    """Method auto begins to compare candidates, so many for each task; or resumes that, which `Resumed` says before.

    `steps` is of each of at most `epochs`, as of `TrainingStarted`.
    """

    candidates: Mapping[str, int]
    steps: int
    epochs: int


@dataclass(frozen=True)
class RoundEnded(Event):
    """A round of the search of a task has ended: `round` of `rounds`, for its "linear" or "deep" candidates (`kind`).

    `left` are the names of those that survived, the best first, of `count` before; `score` is the best one's monitored metric.
    """

    task: str
    kind: str
    round: int
    rounds: int
    left: tuple[str, ...]
    count: int
    score: float | None


@dataclass(frozen=True)
class SearchEnded(Event):
    """The search took so many `seconds`; now its best candidates, by task and kind ("linear", "deep"; "deep 2" and so on
    are other deep ones), are trained as the config says. In what follows, a task T is called "linear/T", "deep/T" and so on.
    """

    finalists: Mapping[str, Mapping[str, str]]
    seconds: float


@dataclass(frozen=True)
class CheckpointSaved(Event):
    path: Path
    step: int


@dataclass(frozen=True)
class BranchSaved(Event):
    """A branch is on disk, with its metrics by split."""

    task: str
    path: Path
    metrics: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class RunEnded(Event):
    """Training has ended; `summary` is result.json where it is finished."""

    path: Path
    outcome: Literal["finished", "interrupted", "stopped", "failed"]
    summary: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class AlreadyFinished(Event):
    """The run in this directory was completed before: nothing is trained."""

    path: Path


Subscriber = Callable[[Event], None]


def quiet(event: Event) -> None:
    """A subscriber that does nothing."""


class Publisher:
    """Tells events to subscribers; itself one. What a subscriber stops is stopped once all have been told."""

    def __init__(self, subscribers: Iterable[Subscriber] = ()) -> None:
        self._subscribers = list(subscribers)

    def __call__(self, event: Event) -> None:
        asked: StopRun | None = None
        for subscriber in list(self._subscribers):
            try:
                subscriber(event)
            except StopRun as error:
                asked = asked or error
            except Exception as error:
                self._subscribers.remove(subscriber)
                name = getattr(subscriber, "__qualname__", type(subscriber).__qualname__)
                why = type(error).__name__  # its own words might hold a text; the system's do not
                why += f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
                logging.getLogger("trunkline").warning(
                    "%s failed at %s (%s); it gets no more events, and training continues", name, type(event).__name__, why
                )
        if asked is not None:
            raise asked


def as_dict(event: Event) -> dict[str, Any]:
    """An event as plain JSON: its type's name as `event`, then its fields."""
    return {"event": type(event).__name__} | {field.name: _plain(getattr(event, field.name)) for field in fields(event)}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, TaskFacts):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return str(value) if isinstance(value, Path) else float(value)
