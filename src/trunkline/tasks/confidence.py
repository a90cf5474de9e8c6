"""How confident the answers of a task are, and what is given instead of one that is not confident enough.

A task kind names one of these classes as its `confidence`; kinds without probabilities name none.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from trunkline.tasks.answers import Targets
from trunkline.tasks.calibration import confident
from trunkline.tasks.criterion import Decoded
from trunkline.tasks.spans import find_spans, right_spans, span_scores


class Graded(NamedTuple):
    """Answers, or parts of answers: `confidence`, the probability (A,) that the branch gives each, and bool `right` (A,)."""

    confidence: np.ndarray
    right: np.ndarray


class Confidence(ABC):
    """What the scores of a kind's answers say.

    unit: what one may be withheld of, in words: "text" or "span".
    graded: what has one of the `probabilities`, in words.
    agrees: what share of these is counted as `right`.
    """

    unit = "text"
    graded = "texts"
    agrees = "share that is right"

    @staticmethod
    @abstractmethod
    def probabilities(decoded: Decoded, targets: Targets) -> Graded:
        """What the calibration error is over, of the rows that have a target."""

    @staticmethod
    @abstractmethod
    def answers(decoded: Decoded, targets: Targets) -> Graded:
        """What is given or withheld as a whole, of the rows that have a target."""

    @staticmethod
    @abstractmethod
    def withheld(answer: Mapping[str, Any], min_confidence: float) -> dict[str, Any]:
        """Return a presented answer (`Task.present`) with no answer in place of what is not confident enough; its main part is
        first. Where that is None already, as of a blank text, what is added is None too.
        """


class LabelConfidence(Confidence):
    """Of the one label of a text: its probability."""

    @staticmethod
    def probabilities(decoded: Decoded, targets: Targets) -> Graded:
        values, rows = decoded.values, targets.present
        chosen = decoded.scores[np.arange(len(values)), values]
        return Graded(chosen[rows], (values == targets.values)[rows])

    answers = probabilities

    @staticmethod
    def withheld(answer: Mapping[str, Any], min_confidence: float) -> dict[str, Any]:
        if answer["label"] is None:
            return {**answer, "abstained": None}
        abstained = not bool(confident(answer["score"], min_confidence))
        return {**answer, "label": None if abstained else answer["label"], "abstained": abstained}


class LabelSetConfidence(Confidence):
    """Of the labels of a text: the probability that each label is there or not as predicted, were they independent.

    The calibration error is over the probabilities of all labels of all texts.
    """

    graded = "labels of texts"
    agrees = "share of labels that hold"

    @staticmethod
    def probabilities(decoded: Decoded, targets: Targets) -> Graded:
        rows, labels = targets.present, decoded.values.shape[1]
        return Graded(decoded.scores[rows].ravel(), targets.values[rows][:, :labels].ravel().astype(bool))

    @staticmethod
    def answers(decoded: Decoded, targets: Targets) -> Graded:
        rows, labels = targets.present, decoded.values.shape[1]
        values, scores, true = decoded.values[rows], decoded.scores[rows].astype(np.float64), targets.values[rows]
        right = (values == true[:, :labels]).all(axis=1) & ~true[:, labels:].any(axis=1)
        return Graded(np.where(values, scores, 1 - scores).prod(axis=1), right)

    @staticmethod
    def withheld(answer: Mapping[str, Any], min_confidence: float) -> dict[str, Any]:
        labels = answer["labels"]
        if labels is None:
            return {**answer, "confidence": None, "abstained": None}
        confidence = float(np.prod([score if name in labels else 1 - score for name, score in answer["scores"].items()]))
        abstained = not bool(confident(confidence, min_confidence))
        return {**answer, "labels": None if abstained else labels, "confidence": confidence, "abstained": abstained}


class SpanConfidence(Confidence):
    """Of each span: the mean probability of the tags of its units. The calibration error is over the tags of all units."""

    unit = "span"
    graded = "words"

    @staticmethod
    def probabilities(decoded: Decoded, targets: Targets) -> Graded:
        rows = targets.present
        return Graded(decoded.scores[rows], (decoded.values == targets.values)[rows])

    @staticmethod
    def answers(decoded: Decoded, targets: Targets) -> Graded:
        assert targets.offsets is not None
        rows = targets.present
        offsets = np.concatenate([[0], np.cumsum(rows)])[targets.offsets]
        predicted = find_spans(decoded.values[rows], offsets)
        right = right_spans(find_spans(targets.values[rows], offsets), predicted)
        return Graded(span_scores(decoded.scores[rows], predicted), right)

    @staticmethod
    def withheld(answer: Mapping[str, Any], min_confidence: float) -> dict[str, Any]:
        spans = answer["spans"]
        if spans is None:
            return {**answer, "left_out": None}
        kept = [span for span in spans if confident(span["score"], min_confidence)]
        return {**answer, "spans": kept, "left_out": len(spans) - len(kept)}
