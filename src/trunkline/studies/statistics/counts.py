"""Rows as counts, so that the metric of any set of rows is a function of sums: resampling is then one matrix product.

A test set drawn again says of each row how often it is in it; those numbers times the counts of the rows are the counts of the
drawn set. Where a metric is no such function (average precision, Spearman's correlation), the drawn rows are scored again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.sparse import csc_array

from trunkline.errors import BadInput
from trunkline.studies.statistics import scores
from trunkline.studies.statistics.answers import Answers
from trunkline.studies.statistics.scores import Score


class Scorable(Protocol):
    """The answers of one run, of which any set of rows can be scored."""

    @property
    def rows(self) -> int:
        """How many rows there are; of token tasks, texts."""

    def scores(self, draws: np.ndarray) -> np.ndarray:
        """Return the score (R,) of each set of rows; `draws` (rows, R) says how often each row is in it. NaN: undefined."""

    def swapped(self, other: Scorable, swap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores (R,) of both runs once they have exchanged their answers to the rows where `swap` (rows, R) is 1.

        `other` must be of the same class and the same rows.
        """


@dataclass(frozen=True, eq=False)
class Counted:
    """A metric that is a function of sums: `score` of the sums of `counts` over rows.

    counts: (rows, C) float64, sparse where there are many labels.
    """

    counts: np.ndarray | csc_array
    score: Score

    @property
    def rows(self) -> int:
        return int(self.counts.shape[0])

    def scores(self, draws: np.ndarray) -> np.ndarray:
        return self.score((self.counts.T @ draws).T)

    def swapped(self, other: Scorable, swap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert isinstance(other, Counted)
        moved = ((other.counts - self.counts).T @ swap).T
        return self.score(self.counts.sum(axis=0) + moved), self.score(other.counts.sum(axis=0) - moved)


@dataclass(frozen=True, eq=False)
class Rescored:
    """A metric that needs the rows themselves: `score(true, predicted)` of drawn rows, one set after the other.

    true, predicted: (rows, ...), where `predicted` is whatever the metric reads, such as probabilities.
    score: the value, NaN where it is undefined.
    """

    true: np.ndarray
    predicted: np.ndarray
    score: Callable[[np.ndarray, np.ndarray], float]

    @property
    def rows(self) -> int:
        return len(self.true)

    def scores(self, draws: np.ndarray) -> np.ndarray:
        drawn = (np.repeat(np.arange(self.rows), times.astype(np.int64)) for times in draws.T)
        return np.array([self.score(self.true[rows], self.predicted[rows]) for rows in drawn], float)

    def swapped(self, other: Scorable, swap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert isinstance(other, Rescored)
        found = np.empty((2, swap.shape[1]))
        for at, column in enumerate(swap.T):
            moved = column.astype(bool).reshape(-1, *[1] * (self.predicted.ndim - 1))
            for side, (mine, its) in enumerate(((self, other), (other, self))):
                found[side, at] = self.score(self.true, np.where(moved, its.predicted, mine.predicted))
        return found[0], found[1]


def counted(answers: Answers, centre: float | None = None) -> Scorable:
    """Return the answers of a run as what sets of their rows are scored from, a row for each of `answers.texts`.

    The score of every row once is that of trunkline.tasks.metrics to 1e-12.

    Args:
        answers: of one run.
        centre: of predicted numbers, what is subtracted from them before sums of powers are formed, so that little is lost to
            rounding; their mean by default. Runs whose rows are `swapped` need the same. It changes no score.
    """
    rows = answers.present
    true, predicted = answers.true[rows], answers.predicted[rows]
    if answers.kind == "token":
        return _of_spans(answers, true, predicted)
    if answers.kind == "regression":
        return _of_numbers(answers.metric, true.astype(float), predicted.astype(float), centre)
    if answers.metric == "average_precision":
        assert answers.scores is not None
        return Rescored(true, answers.scores[rows], average_precision)
    if answers.metric == "accuracy":
        right = true == predicted if answers.kind == "sequence" else (true == predicted).all(axis=1)
        return Counted(np.stack([right, np.ones(len(right))], axis=1).astype(float), scores.mean)
    if answers.kind == "sequence" and answers.metric in ("precision", "recall", "f1"):
        one, other = true == answers.positive, predicted == answers.positive
        return Counted(np.stack([one & other, other, one], axis=1).astype(float), scores.of_counts(answers.metric))
    labels = len(answers.labels)
    if answers.kind == "sequence":
        places, right = np.arange(len(true)), true == predicted
        cells = [(places[right], true[right]), (places, predicted), (places, true)]
    else:
        cells = [(row, label) for row, label in map(np.nonzero, (true & predicted, predicted, true))]
    if answers.metric == "matthews":
        return Counted(_by_label(cells, len(true), labels), scores.matthews)
    return _averages(answers.metric, cells, len(true), labels)


def right_rows(answers: Answers) -> np.ndarray:
    """Return (rows,) bool: which rows of a sequence or multilabel task are right, of multilabel with all of their labels.

    Raises:
        BadInput: another kind, whose rows are not simply right or wrong.
    """
    if answers.kind not in ("sequence", "multilabel"):
        raise BadInput(key="kind", found=answers.kind, expected="sequence or multilabel, whose rows are right or wrong")
    right = answers.true == answers.predicted
    return (right if answers.kind == "sequence" else right.all(axis=1))[answers.present]


Cells = list[tuple[np.ndarray, np.ndarray]]


def _by_label(cells: Cells, rows: int, labels: int) -> csc_array:
    """(rows, 3 L): how many right, predicted and gold ones of each label a row has, from (row, label) of each of these."""
    row = np.concatenate([row for row, _ in cells])
    column = np.concatenate([label + number * labels for number, (_, label) in enumerate(cells)])
    return csc_array((np.ones(len(row)), (row, column)), shape=(rows, 3 * labels))


def _averages(metric: str, cells: Cells, rows: int, labels: int) -> Counted:
    """Macro, micro or weighted precision, recall or F1."""
    name, average = metric.split("_")
    counts = _by_label(cells, rows, labels)
    if average == "micro":
        return Counted(_summed(counts, labels), scores.of_counts(name))
    return Counted(counts, scores.averaged(name, weighted=average == "weighted"))


def _summed(counts: csc_array, labels: int) -> np.ndarray:
    """(rows, 3) of all labels together."""
    return np.stack([counts[:, i * labels : (i + 1) * labels].sum(axis=1) for i in range(3)], axis=1)


def _of_spans(answers: Answers, true: np.ndarray, predicted: np.ndarray) -> Counted:
    """A row for each text: what is counted of a text stays together when texts are drawn."""
    assert answers.offsets is not None
    offsets = np.concatenate([[0], np.cumsum(answers.present)])[answers.offsets]
    offsets = np.append(offsets[answers.texts], len(true))
    texts = len(answers.texts)
    if answers.metric == "accuracy":
        words = np.diff(offsets)
        right = np.bincount(np.repeat(np.arange(texts), words), true == predicted, minlength=texts)
        return Counted(np.stack([right, words], axis=1).astype(float), scores.mean)
    from trunkline.tasks.spans import find_spans, right_spans  # here, as its package loads torch, which nothing else needs

    gold, found = find_spans(true, offsets), find_spans(predicted, offsets)
    of_found, of_gold = (np.searchsorted(offsets, spans.first, side="right") - 1 for spans in (found, gold))
    right = right_spans(gold, found)
    cells = [(of_found[right], found.types[right]), (of_found, found.types), (of_gold, gold.types)]
    if answers.metric.endswith("_macro"):
        return _averages(answers.metric, cells, texts, len(answers.labels))
    counts = _by_label(cells, texts, len(answers.labels))
    return Counted(_summed(counts, len(answers.labels)), scores.of_counts(answers.metric))


def _of_numbers(metric: str, true: np.ndarray, predicted: np.ndarray, centre: float | None) -> Scorable:
    if metric == "spearman":
        return Rescored(true, predicted, spearman)
    one, error = np.ones(len(true)), predicted - true
    if metric in ("mse", "mae"):
        return Counted(np.stack([error**2 if metric == "mse" else np.abs(error), one], axis=1), scores.mean)
    x = true - true.mean()
    if metric == "r2":
        return Counted(np.stack([one, x, x**2, error**2], axis=1), scores.r2)
    y = predicted - (predicted.mean() if centre is None else centre)
    return Counted(np.stack([one, x, y, x**2, y**2, x * y], axis=1), scores.pearson)


def average_precision(true: np.ndarray, scores: np.ndarray) -> float:
    """The mean over the labels that occur in `true` (rows, L) bool; NaN where none does."""
    from sklearn.metrics import average_precision_score  # here, as it takes a second to load

    occur = np.flatnonzero(true.any(axis=0))
    return float(np.mean([average_precision_score(true[:, i], scores[:, i]) for i in occur])) if len(occur) else np.nan


def spearman(true: np.ndarray, predicted: np.ndarray) -> float:
    """Spearman's correlation of (rows,) numbers; NaN where one side is a constant."""
    from scipy.stats import spearmanr  # here, as it takes most of a second to load

    varied = len(true) > 1 and np.ptp(true) > 0 and np.ptp(predicted) > 0
    return float(spearmanr(true, predicted)[0]) if varied else np.nan
