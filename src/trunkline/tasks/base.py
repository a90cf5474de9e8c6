"""What every kind of task provides to higher packages: targets from a corpus, a criterion, scores, and predictions to show.

A task is made by `Task.fit` from the training corpus, or by `Task.from_state` from a branch on disk. Adding a kind is
adding one file to this package that registers a subclass of `Task` under its name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from trunkline.data.corpus import Corpus
from trunkline.errors import BadInput, unknown_name
from trunkline.registry import Registry
from trunkline.tasks import labels as space
from trunkline.tasks.answers import Answers, Targets
from trunkline.tasks.confidence import Confidence
from trunkline.tasks.criterion import Criterion, Decoded
from trunkline.tasks.label_quality import LabelQuality
from trunkline.tasks.label_types import LabelType, in_type
from trunkline.tasks.labels import STRICT, Reading, unseen_sentence
from trunkline.tasks.windows import LongTexts, answers_for

kinds: Registry[type[Task]] = Registry("task kind", __package__)

SCHEMA = 1
LOWER_IS_BETTER = frozenset({"loss", "mse", "mae"})


class TaskConfig(BaseModel):
    """The keys that every task has in the YAML."""

    model_config = ConfigDict(extra="forbid")
    LATER: ClassVar[tuple[str, ...]] = ("missing",)  # keys that earlier versions did not have

    kind: str
    metric: str | None = None  # what early stopping and the best checkpoint go by; the kind's default where None
    data: Any = None  # texts of its own: a section like the run's `data`, for tasks that are learned jointly from several files
    missing: space.MissingList | None = None  # the strings that stand for a missing value; those of `data` where None


class TextConfig(TaskConfig):
    """The keys that tasks at text level have besides."""

    LATER: ClassVar[tuple[str, ...]] = (*TaskConfig.LATER, "long_texts")

    long_texts: LongTexts = "first"  # of a text longer than one sequence: its first window, or the mean or max of all logits


class Learned(BaseModel):
    """What `fit` learns besides the labels; a subclass per kind. Part of branch.json."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class _State(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    schema_version: int
    kind: str
    config: dict[str, Any]
    labels: list[str]
    learned: dict[str, Any]
    label_type: LabelType | None = None


class Task(ABC):
    """What to predict.

    Args:
        name (str): the user's name for it.
        config (TaskConfig): its section of the YAML.
        labels (list[str]): names of the outputs, in order.
        learned (Learned): what is learned from the training corpus besides them.

    Attributes:
        label_type (LabelType | None): the Python type of the labels in the training data, where it was not str.
    """

    label_type: LabelType | None = None
    kind: ClassVar[str]
    answers: type[Answers]  # of a kind; of a task, which may read more of long texts than its kind does by default
    confidence: ClassVar[type[Confidence] | None] = None  # of what it answers; None: it has no probabilities
    quality: ClassVar[type[LabelQuality] | None] = None  # how its given labels are doubted; None: it has no probabilities
    Config: ClassVar[type[TaskConfig]]
    Learned: ClassVar[type[Learned]] = Learned
    default_metric: ClassVar[str]
    baseline_rule: ClassVar[str] = ""  # what `baseline` predicts, in words after "always"
    label_unit: ClassVar[str] = "row"  # what has a label: what `counts` counts
    parts: ClassVar[tuple[str, ...]]  # the keys of a prediction, the main one first

    def __init__(self, name: str, config: Any, labels: list[str], learned: Any) -> None:
        self.name, self.config, self.labels, self.learned = name, config, labels, learned
        self.answers = answers_for(self.long_texts or "first", type(self).answers)
        if config.metric is not None and config.metric not in (known := {*self.metric_names(), "loss"}):
            raise unknown_name("", config.metric, known, key=f"tasks.{name}.metric")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {len(self.labels)} labels)"

    @property
    def long_texts(self) -> LongTexts | None:
        """What it reads of a text that is longer than one sequence; None for a kind that always reads all of it."""
        return getattr(self.config, "long_texts", None)

    def described_briefly(self) -> str:
        """Its kind, and how many labels it has."""
        return f"{self.kind}, {len(self.own_labels)} labels" if self.own_labels else self.kind

    @abstractmethod
    def columns(self) -> list[str]:
        """The columns of the table that hold this task's labels (and its tokens)."""

    @classmethod
    @abstractmethod
    def fit(cls, name: str, config: Any, corpus: Corpus) -> Task:
        """Learn the label space from `corpus`, and from its rows what `learn` learns.

        Raises:
            BadInput: a column is missing or of the wrong type.
        """

    def learn(self, corpus: Corpus) -> None:  # noqa: B027 (not every kind has more to learn than its labels)
        """Measure, on these rows alone, what training needs besides the labels, such as class weights.

        Called by `fit`, and again with what is left of its corpus once other splits have been drawn from it.
        """

    def first_logits(self, targets: Targets) -> Tensor | None:
        """Return the logits (C,) that a head should begin with, for training on `targets`; None if any will do."""
        return None

    def findings(self, corpus: Corpus) -> list[str]:
        """Return what of the annotation of `corpus` could not be taken as it is, a sentence each."""
        return self.changes(corpus)

    def changes(self, corpus: Corpus) -> list[str]:
        """Return which of the answers of `corpus` are changed or dropped in rows that are not skipped, a sentence each."""
        return []

    def label_findings(self, corpus: Corpus) -> list[str]:
        """Return what of the labels of a whole training source may not be meant so, and how it was read, a sentence each."""
        return []

    def counts(self, targets: Targets) -> dict[str, int]:
        """Return how many rows (of a token task, spans) of `targets` have each label; empty for kinds without labels."""
        return {}

    def row_labels(self, targets: Targets) -> tuple[np.ndarray, np.ndarray] | None:
        """Return each label of each row of `targets` once: rows, and numbers of labels among `own_labels`, int64 (P,).

        None for kinds without labels.
        """
        return None

    def absent_labels(self, targets: Targets) -> list[str]:
        """Return the labels that no row of `targets` has; none for a kind without labels."""
        return [label for label, count in self.counts(targets).items() if not count]

    def baseline(self, corpus: Corpus) -> Decoded | None:
        """Return what is predicted for `corpus` by what `learn` measured alone, without a model: the least to be better than.

        None where that is not known: of branches saved before it was measured.
        """
        return None

    @property
    def positive(self) -> str | None:
        """The label that "precision", "recall" and "f1" are about, for a kind that has one."""
        return None

    def conflicting(self, corpus: Corpus) -> list[str | None] | None:
        """Return a label for each text of which equal texts should have the same; None for kinds without such labels."""
        return None

    @property
    def named_labels(self) -> list[str] | None:
        """The labels, where the outputs stand for labels; None for numbers."""
        return self.labels

    @property
    def classes(self) -> list[Any]:
        """The labels, in the type that they had in the training data."""
        return in_type(self.labels, self.label_type)

    def in_own_type(self, shown: dict[str, Any]) -> dict[str, Any]:
        """Return a prediction with its labels in the type that they had in the training data."""
        if self.label_type is None:
            return shown
        own: dict[Any, Any] = {None: None, **dict(zip(self.labels, self.classes, strict=True))}

        def read(part: Any) -> Any:
            if isinstance(part, list):
                return [own[label] for label in part]
            return {own[label]: score for label, score in part.items()} if isinstance(part, dict) else own[part]

        return {key: part if key == "score" else read(part) for key, part in shown.items()}

    @property
    def own_labels(self) -> list[str]:
        """What the labels of data are looked up among; of a token task, the entity types. None for numbers."""
        return self.named_labels or []

    @property
    def cell_separator(self) -> str | None:
        """What stands between the labels of a text in a cell, as in the data that the task was trained on.

        None for kinds with one answer, and where labels were no strings to be divided.
        """
        return None

    @property
    def scale(self) -> tuple[float, float] | None:
        """Mean and deviation that the outputs are to be scaled by, for kinds that learn standardised numbers."""
        return None

    @property
    def outputs(self) -> int:
        """Width of the logits."""
        return len(self.labels)

    @abstractmethod
    def metric_names(self) -> tuple[str, ...]:
        """The flat keys of what `score` returns."""

    @property
    def monitor(self) -> str:
        """The metric that early stopping goes by; "loss" is the mean validation loss, which the training loop knows."""
        return self.config.metric or self.default_metric

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger value of `monitor` is a better one."""
        return self.monitor not in LOWER_IS_BETTER

    @abstractmethod
    def targets(self, corpus: Corpus, reading: Reading = STRICT) -> Targets:
        """Return what is right for `corpus`.

        Args:
            corpus: the texts, and the table with the labels.
            reading: what becomes of labels that the task does not have.

        Raises:
            BadInput: such a label where it is refused, or where there is no other; a wrong type; no labelled row at all.
        """

    def unseen_labels(self, targets: Targets) -> list[str]:
        """Return what to say of labels in `targets` that the task does not have: a sentence, or none."""
        if not targets.unseen:
            return []
        return [unseen_sentence(self.name, self.own_labels, targets.unseen, targets.unseen_rows)]

    def for_loss(self, targets: Targets) -> Targets:
        """Return the targets without those that the task's outputs cannot express, of which there is no finite loss."""
        return targets

    @abstractmethod
    def with_answers(self, answers: list[Any], corpus: Corpus) -> tuple[Task, Corpus]:
        """Return the task that reads answers of a program, and `corpus`, whose table holds none, with them.

        Args:
            answers: labels, lists of labels or 0/1 vectors, numbers, lists of tags or of spans; None where a text has none.
            corpus: the texts, for a task at unit level with their units. Its table's source opens the messages.
        """

    def strata(self, corpus: Corpus) -> list[str] | None:
        """Return a group per text that a drawn split should keep the shares of; "" where the label is missing."""
        return None

    @abstractmethod
    def criterion(self) -> Criterion:
        """Return a new criterion, its weights freshly initialised."""

    def tune(self, logits: np.ndarray | Tensor, targets: Targets) -> dict[str, Any]:
        """Set what is chosen on validation once training is over, and return it as plain JSON; empty where nothing is chosen.

        Of a threshold: `threshold` and `untuned_threshold`, the `metric` that it was chosen by, and that metric on these rows
        with the one (`tuned`) and with the other (`untuned`); of one for each label also these, `thresholds`.
        """
        return {}

    @abstractmethod
    def score(self, decoded: Decoded, targets: Targets) -> dict[str, Any]:
        """Return metrics by flat name, and in mappings what is more than a number: for kinds with labels `by_label`, a table by
        label; `confusion` {true: {predicted: count}} where a text has one label; `sample` {row: {true, predicted}} of numbers.

        Precision, recall and F1 whose denominator is 0 are 0.0, as is Matthews correlation (scikit-learn's rule with
        zero_division=0); other undefined values are None; there is never a NaN.
        """

    @abstractmethod
    def present(self, decoded: Decoded, corpus: Corpus) -> list[dict[str, Any]]:
        """Return a JSON-able prediction per text, with the keys of `parts`."""

    def state(self) -> dict[str, Any]:
        """Return all of the task as plain JSON; `from_state` reads it."""
        return {
            "schema_version": SCHEMA,
            "kind": self.kind,
            "config": self.config.model_dump(mode="json"),
            "labels": list(self.labels),
            "learned": self.learned.model_dump(mode="json"),
            **({} if self.label_type is None else {"label_type": self.label_type}),
        }

    @staticmethod
    def from_state(name: str, state: Any) -> Task:
        """Return the task whose `state()` this is. BadInput for another schema version or anything missing or extra."""
        where = f"state of task {name!r}"
        version = state.get("schema_version") if isinstance(state, dict) else None
        if version != SCHEMA:
            raise BadInput(f"{where}: found schema version {version!r}, expected {SCHEMA}")
        try:
            read = _State.model_validate(state)
            kind = kinds.get(read.kind, key=f"{where}: kind")
            if len(set(read.labels)) != len(read.labels):
                raise BadInput(f"{where}: labels: found one twice, expected each once")
            config, learned = kind.Config.model_validate(read.config), kind.Learned.model_validate(read.learned)
            task = kind(name, config, read.labels, learned)
            if None in in_type(read.labels, read.label_type):
                raise BadInput(f"{where}: label_type: found {read.label_type}, expected a type that all labels are names of")
            task.label_type = read.label_type
            task.check_state(where)
            return task
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            path = ".".join(map(str, first["loc"]))
            raise BadInput(f"{where}: {path}: {first['msg']}") from None

    def check_state(self, where: str) -> None:  # noqa: B027 (not every kind has more to check)
        """Raise BadInput, opened by `where`, if labels and learned values do not fit together."""
