"""How much a model that has not seen a row doubts the label that the row was given: confident learning.

Northcutt, Jiang and Chuang 2021 (Journal of Artificial Intelligence Research 70, arXiv 1911.00068). Rows are ranked by their
self-confidence, the probability of the given label, the lowest first. Which rows are suspected is told by the confident joint
(eq. 1): t_j is the mean probability of label j over the rows that were given j, a row confidently belongs to the most probable
of the labels whose probability reaches their t_j, and it is suspected where that is not the given one, unless the given one is
the most probable of all (as the authors' library cleanlab decides in find_label_issues with filter_by="confident_learning").
Where a row has several answers (labels that may be there or not, tags of words), the one with the lowest self-confidence speaks
for it, as in cleanlab for tags.

A task kind names one of these classes as its `quality`; kinds without labels name none.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from trunkline.tasks.answers import Targets

MARGIN = 1e-6  # by which a probability may miss its threshold, or the largest one, as in cleanlab: equal ones may be rounded


@dataclass(frozen=True)
class Judged:
    """The given labels of R texts beside what a model says.

    Attributes:
        texts: int (R,), which texts have a label.
        given, suggested: R label names, or lists of names where a text has any number of them.
        given_confidence, suggested_confidence: fp64 (R,) probabilities.
        suspected: bool (R,).
        units: int (R,), which unit of its text the answer is about; None where it is about the text.
    """

    texts: np.ndarray
    given: list[Any]
    suggested: list[Any]
    given_confidence: np.ndarray
    suggested_confidence: np.ndarray
    suspected: np.ndarray
    units: np.ndarray | None = None

    def order(self) -> np.ndarray:
        """int (R,): the rows from the most doubtful label on; of equally doubtful ones the surer suggestion first."""
        return np.lexsort((-self.suggested_confidence, self.given_confidence))


class LabelQuality(ABC):
    """What the probabilities of a kind say of its given labels. `what` is what may be wrong of a row, in words."""

    what: ClassVar[str] = "label"

    @staticmethod
    @abstractmethod
    def judged(labels: Sequence[str], probabilities: np.ndarray, targets: Targets) -> Judged:
        """Compare the labels of `targets` with probabilities of a model that has not learned from them.

        Args:
            labels: the task's, in order.
            probabilities: as of `Criterion.probabilities`.
            targets: of the same texts, without labels that the task does not have.
        """


class OneLabelQuality(LabelQuality):
    """Of the one label of a text."""

    @staticmethod
    def judged(labels: Sequence[str], probabilities: np.ndarray, targets: Targets) -> Judged:
        texts = np.flatnonzero(targets.present)
        shares, given = probabilities[texts].astype(np.float64), targets.values[texts]
        best = shares.argmax(axis=1)
        return Judged(
            texts,
            [labels[label] for label in given],
            [labels[label] for label in best],
            self_confidence(shares, given),
            self_confidence(shares, best),
            suspects(shares, given),
        )


class LabelSetQuality(LabelQuality):
    """Of the labels of a text, each there or not. Suggested are those that the model finds more probable than not."""

    @staticmethod
    def judged(labels: Sequence[str], probabilities: np.ndarray, targets: Targets) -> Judged:
        texts = np.flatnonzero(targets.present)
        shares, given = probabilities[texts].astype(np.float64), targets.values[texts].astype(bool)
        quality = np.where(given, shares, 1 - shares)
        worst = quality.argmin(axis=1)
        lowest = quality[np.arange(len(texts)), worst]
        suspected = np.zeros(len(texts), bool)
        for label in range(shares.shape[1]):
            two = np.stack([1 - shares[:, label], shares[:, label]], axis=1)
            own = given[:, label].astype(np.int64)
            suspected |= suspects(two, own)
        suggested = np.where(quality < 0.5, ~given, given)
        return Judged(texts, _named(labels, given), _named(labels, suggested), lowest, 1 - lowest, suspected)


class TagQuality(LabelQuality):
    """Of the tags of the words of a text: the word with the lowest self-confidence speaks for it."""

    what = "tag"

    @staticmethod
    def judged(labels: Sequence[str], probabilities: np.ndarray, targets: Targets) -> Judged:
        assert targets.offsets is not None
        words = np.flatnonzero(targets.present)
        shares, given = probabilities[words].astype(np.float64), targets.values[words]
        quality, best = self_confidence(shares, given), shares.argmax(axis=1)
        suspected = suspects(shares, given)
        text_of = np.searchsorted(targets.offsets, words, side="right") - 1
        order = np.lexsort((np.arange(len(words)), quality, text_of))
        texts, first = np.unique(text_of[order], return_index=True)
        worst = order[first]
        return Judged(
            texts,
            [labels[tag] for tag in given[worst]],
            [labels[tag] for tag in best[worst]],
            quality[worst],
            self_confidence(shares, best)[worst],
            suspected[worst],
            words[worst] - targets.offsets[texts],
        )


def self_confidence(probabilities: np.ndarray, given: np.ndarray) -> np.ndarray:
    """The probability (R,) of each row's given label, of probabilities (R, L) and label numbers (R,)."""
    return probabilities[np.arange(len(given)), given]


def confident_labels(probabilities: np.ndarray, given: np.ndarray) -> np.ndarray:
    """The label that each row confidently belongs to, int (R,), -1 where there is none; arguments as of `self_confidence`."""
    labels = probabilities.shape[1]
    counts = np.bincount(given, minlength=labels)
    sums = np.bincount(given, self_confidence(probabilities, given), minlength=labels)
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)  # a label that no row was given is never confident
    reached = probabilities >= thresholds - MARGIN
    best = np.where(reached, probabilities, -np.inf).argmax(axis=1)
    return np.where(reached.any(axis=1), best, -1)


def suspects(probabilities: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Whether each row's given label is likely wrong, bool (R,): it confidently belongs to another one, and is not predicted
    the one that it was given; arguments as of `self_confidence`."""
    confident = confident_labels(probabilities, given)
    predicted = probabilities.max(axis=1, initial=0.0) <= self_confidence(probabilities, given) + MARGIN
    return (confident >= 0) & (confident != given) & ~predicted


def _named(labels: Sequence[str], held: np.ndarray) -> list[list[str]]:
    return [[labels[number] for number in np.flatnonzero(row).tolist()] for row in held]
