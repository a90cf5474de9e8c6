"""What one run answered to the rows of a test split: the input of all statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from trunkline.errors import BadInput, unknown_name

if TYPE_CHECKING:  # its package loads torch
    from trunkline.training.answered import KeptAnswers

_BY_LABEL = tuple(f"{name}_{average}" for name in ("precision", "recall", "f1") for average in ("macro", "micro", "weighted"))
# By task kind, the metrics that can be computed from answers: all but "loss" (trunkline.tasks.metrics has their definitions).
METRICS = {
    "sequence": ("accuracy", *_BY_LABEL, "matthews", "precision", "recall", "f1"),
    "multilabel": ("accuracy", *_BY_LABEL, "average_precision"),
    "regression": ("pearson", "spearman", "mse", "mae", "r2"),
    "token": ("precision", "recall", "f1", "precision_macro", "recall_macro", "f1_macro", "accuracy"),
}
# What no score can be outside of; all others are shares, within 0 and 1.
RANGES = {name: (-1.0, 1.0) for name in ("matthews", "pearson", "spearman")}
RANGES |= {"mse": (0.0, np.inf), "mae": (0.0, np.inf), "r2": (-np.inf, 1.0)}
ERRORS = ("mse", "mae")  # in units of the target, and the lower the better


@dataclass(frozen=True, eq=False)
class Answers:
    """What one run answered, and what is right, laid out as the targets and predictions of its task.

    Args:
        kind: the task's: sequence, multilabel, regression or token.
        metric: its name, one of METRICS[kind].
        labels: names of the labels, of token tasks of the entity types, those that are in `true` only last; none for numbers.
        true: sequence (texts,) label numbers; multilabel (texts, L) bool; regression (texts,) numbers; token (U,) tag numbers
            (0 is O, 2e + 1 is B- and 2e + 2 is I- of entity type e), the words of all texts end to end.
        predicted: likewise, of the same shape.
        present: (texts,) bool, of token tasks (U,): False where a row has no answer in the data.
        offsets: of token tasks alone, (texts + 1,): the words of text t are offsets[t]:offsets[t + 1].
        scores: of multilabel, (texts, L) probabilities, which average_precision needs alone.
        positive: of a sequence task with two labels, the number of the one that precision, recall and f1 are of.

    Raises:
        BadInput: the metric is none of the kind's, or arrays do not fit together; `key` names the field.
    """

    kind: str
    metric: str
    labels: Sequence[str]
    true: np.ndarray
    predicted: np.ndarray
    present: np.ndarray
    offsets: np.ndarray | None = None
    scores: np.ndarray | None = None
    positive: int = 1

    @classmethod
    def of(cls, kept: KeptAnswers, metric: str | None = None) -> Answers:
        """Return the answers that a run has kept of its test split (`trunkline.training.answered.load_answers`).

        Args:
            kept: what was loaded.
            metric: another one than the task goes by, which may be "loss".
        """
        own, unseen = kept.labels or [], len(kept.unseen)

        def wide(found: np.ndarray) -> np.ndarray:  # labels that only the test rows have are never predicted
            return np.pad(found, ((0, 0), (0, unseen))) if kept.kind == "multilabel" and unseen else found

        scores = None if kept.scores is None else wide(kept.scores)
        positive = 1 if kept.positive is None else own.index(kept.positive)
        return cls(kept.kind, metric or kept.metric, [*own, *kept.unseen], kept.true, wide(kept.predicted), kept.present,
                   kept.offsets, scores, positive)  # fmt: skip

    def __post_init__(self) -> None:
        if self.kind not in METRICS:
            raise unknown_name("", self.kind, METRICS, key="kind")
        if self.metric not in METRICS[self.kind]:
            raise unknown_name("", self.metric, METRICS[self.kind], key="metric")
        shape = (len(self.present), len(self.labels)) if self.kind == "multilabel" else (len(self.present),)
        arrays = {"true": self.true, "predicted": self.predicted}
        if self.metric == "average_precision":
            arrays["scores"] = np.zeros(0) if self.scores is None else self.scores
        for key, array in arrays.items():
            if array.shape != shape:
                raise BadInput(
                    key=key, found=f"an array of shape {array.shape}", expected=f"{shape}, as present and labels are"
                )
        if (self.offsets is not None) != (self.kind == "token"):
            raise BadInput(key="offsets", found=f"{'none' if self.offsets is None else 'some'} for kind {self.kind}",
                           expected="offsets for token tasks, and for no others")  # fmt: skip
        if self.offsets is not None and (self.offsets[0], self.offsets[-1]) != (0, len(self.present)):
            raise BadInput(key="offsets", found=f"offsets from {self.offsets[0]} to {self.offsets[-1]}",
                           expected=f"from 0 to {len(self.present)}, the number of words")  # fmt: skip
        if not self.present.any():
            raise BadInput(key="present", found="no row with an answer in the data", expected="at least one")
        if self.kind in ("sequence", "token"):
            numbers = len(self.labels) if self.kind == "sequence" else 1 + 2 * len(self.labels)
            for key, array in arrays.items():
                low, high = array[self.present].min(), array[self.present].max()
                if low < 0 or high >= numbers:
                    raise BadInput(key=key, found=f"numbers from {low} to {high}", expected=f"from 0 to {numbers - 1}")

    @cached_property
    def texts(self) -> np.ndarray:
        """(rows,) the texts that statistics are over: those with an answer, of token tasks on at least one word."""
        if self.offsets is None:
            return np.flatnonzero(self.present)
        known = np.concatenate([[0], np.cumsum(self.present)])
        return np.flatnonzero(np.diff(known[self.offsets]))

    @property
    def greater_is_better(self) -> bool:
        """Whether a larger value of the metric is a better one."""
        return self.metric not in ERRORS

    @property
    def points(self) -> float:
        """What a score is multiplied by to be in points: 100; of mse and mae 1, as they are in units of the target."""
        return 1.0 if self.metric in ERRORS else 100.0

    @property
    def range(self) -> tuple[float, float]:
        """The least and the largest value that the metric can have."""
        return RANGES.get(self.metric, (0.0, 1.0))

    @property
    def largest(self) -> float:
        """What a row may change the score by, times the number of rows: 1; of mse and mae, the largest error of a row."""
        if self.metric not in ERRORS:
            return 1.0
        error = float(np.abs(self.predicted - self.true)[self.present].max())
        return error**2 if self.metric == "mse" else error

    @property
    def proportion(self) -> bool:
        """Whether the score is a share of rows (of token tasks, words) that are right."""
        return self.metric == "accuracy"


def check_same_rows(first: Answers, second: Answers, names: tuple[str, str] = ("first", "second")) -> None:
    """Raise BadInput where two runs were not asked the same, or are not measured alike, so that they cannot be compared."""
    where = f"{names[0]} and {names[1]}" if names[0] != names[1] else names[0]
    for key in ("kind", "metric", "positive"):
        if (found := (getattr(first, key), getattr(second, key)))[0] != found[1]:
            raise BadInput(where=where, key=key, found=f"{found[0]} and {found[1]}", expected="the same")
    if list(first.labels) != list(second.labels):
        raise BadInput(where=where, key="labels", found="different labels, or in another order", expected="the same")
    for key in ("present", "true", "offsets"):
        one, other = (getattr(answers, key) for answers in (first, second))
        if one is not None and one is not other and not np.array_equal(one, other):
            raise BadInput(where=where, key=key, found="the answers of different test rows", expected="the same rows")
