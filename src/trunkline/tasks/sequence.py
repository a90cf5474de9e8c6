"""One label per text: cross-entropy or focal loss over the labels of the training corpus."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from trunkline.data import columns, label_sets
from trunkline.data.corpus import Corpus
from trunkline.data.values.missing import spells_missing
from trunkline.errors import BadInput, shown
from trunkline.tasks import base, losses, metrics
from trunkline.tasks import labels as space
from trunkline.tasks.answers import Targets, TextAnswers
from trunkline.tasks.base import Task, TaskConfig, TextConfig, kinds
from trunkline.tasks.confidence import LabelConfidence
from trunkline.tasks.criterion import Criterion, Decoded, as_logits, divided
from trunkline.tasks.label_quality import OneLabelQuality
from trunkline.tasks.label_types import type_of_labels
from trunkline.tasks.positive import guess_positive


class LossConfig(TaskConfig):
    """The keys of a task whose loss is over classes."""

    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    gamma: float | None = Field(None, ge=0, allow_inf_nan=False)  # of the focal loss; 2 (the paper's) where not given

    @model_validator(mode="after")
    def _gamma_is_of_focal(self) -> LossConfig:
        if self.loss == "focal" and self.gamma is None:
            self.gamma = 2.0
        if self.loss != "focal" and self.gamma is not None:
            raise ValueError("gamma was given, but it belongs to loss: focal")
        return self


class SequenceConfig(LossConfig, TextConfig):
    """`{kind: sequence, label: COLUMN}`."""

    LATER: ClassVar[tuple[str, ...]] = (*TextConfig.LATER, "positive")
    kind: Literal["sequence"] = "sequence"
    label: str
    label_list: space.LabelList | None = None  # all labels in the order wanted; sorted from the training corpus where None
    class_weights: space.ClassWeights = "none"
    positive: space.Label | None = None  # of two labels, the one that precision, recall and f1 are about; guessed where None


class SequenceLearned(base.Learned):
    """Class weights in the order of the labels, None for all equal; training rows of each label, and the number of the positive
    one of two labels, both None in branches saved before they were measured.
    """

    class_weights: list[space.Weight] | None = None
    counts: list[space.Count] | None = None
    positive: Literal[0, 1] | None = None


class SequenceCriterion(Criterion):
    """Mean (weighted) cross-entropy or focal loss; the most probable label."""

    weights: Tensor | None

    def __init__(self, size: int, weights: list[float] | None, gamma: float) -> None:
        super().__init__()
        self.size, self.gamma = size, gamma
        self.register_buffer("weights", None if weights is None else torch.tensor(weights), persistent=False)

    def loss(self, logits: Tensor, targets: Tensor, groups: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
        return losses.cross_entropy(logits, targets, weights=self.weights, gamma=self.gamma, rows=weights)

    def decode(
        self,
        logits: np.ndarray | Tensor,
        offsets: np.ndarray | None = None,
        *,
        temperature: float | None = None,
        thresholds: np.ndarray | float | None = None,
    ) -> Decoded:
        plain = self.probabilities(logits)  # a high temperature may make equal what is not
        scores = plain if temperature is None else self.probabilities(logits, temperature=temperature)
        return Decoded(plain.argmax(axis=1), scores)

    def probabilities(
        self, logits: np.ndarray | Tensor, offsets: np.ndarray | None = None, *, temperature: float | None = None
    ) -> np.ndarray:
        return torch.softmax(divided(as_logits(logits, self.size), temperature), dim=1).cpu().numpy()

    def logits_to_scale(self, logits: np.ndarray | Tensor, offsets: np.ndarray | None = None) -> np.ndarray:
        return as_logits(logits, self.size).cpu().numpy()


@kinds.register("sequence")
class SequenceTask(Task):
    """One label per text.

    With exactly two labels, the metrics "precision", "recall" and "f1" are those of the positive one: `positive` of the config,
    or what tasks/positive.py takes it to be.
    """

    kind: ClassVar[str] = "sequence"
    answers = TextAnswers
    confidence = LabelConfidence
    quality = OneLabelQuality
    Config = SequenceConfig
    Learned = SequenceLearned
    default_metric = "accuracy"
    baseline_rule = "predicting the most frequent label"
    parts = ("label", "score", "scores")
    config: SequenceConfig
    learned: SequenceLearned

    def columns(self) -> list[str]:
        return [self.config.label]

    def conflicting(self, corpus: Corpus) -> list[str | None]:
        return _labels(self.name, self.config, corpus)

    def findings(self, corpus: Corpus) -> list[str]:
        present = [label is not None for label in _labels(self.name, self.config, corpus)]
        return space.skipped(self.name, corpus, self.columns(), present, self.config.missing)

    def label_findings(self, corpus: Corpus) -> list[str]:
        found = _labels(self.name, self.config, corpus)
        counts = Counter(label for label in found if label is not None)
        table, column = corpus.table, self.config.label
        given = [one[0] if isinstance(one, list) and len(one) == 1 else one for one in table.columns[column]]
        two_types = space.of_two_types(self.name, given, found)
        if column not in table.strings:
            two_types += label_sets.told_single(self.name, table, column, self.config.missing)
        return two_types + space.doubtful(self.name, counts, self.config.missing, self.config.label_list)

    @classmethod
    def fit(cls, name: str, config: SequenceConfig, corpus: Corpus) -> SequenceTask:
        found = _labels(name, config, corpus)
        counts = Counter(label for label in found if label is not None)
        space.refuse_unlabelled(bool(counts), corpus, [config.label])
        labels = space.label_space(counts, config.label_list, f"tasks.{name}.label_list")
        if len(labels) < 2:
            where = space.place(corpus.table, [config.label])
            only = shown(labels[0], space.may_name(labels))
            raise BadInput(f"{where}: found only the label {only}, expected at least two different ones")
        key = f"tasks.{name}.positive"
        if config.positive is not None and len(labels) != 2:
            raise BadInput(f"only two labels have a positive one, and there are {len(labels)}", key=key)
        if config.positive is not None and config.positive not in space.positions(labels):
            raise space.unknown_label("", config.positive, labels).at("", key)
        task = cls(name, config, labels, SequenceLearned())
        given = zip(corpus.table.columns[config.label], found, strict=True)
        task.label_type = type_of_labels((value for value, label in given if label is not None), labels)
        task.targets(corpus)  # a label that label_list lacks
        task.learn(corpus)
        return task

    def learn(self, corpus: Corpus) -> None:
        weights = space.named_weights(self.config.class_weights, self.labels, f"tasks.{self.name}.class_weights")
        counts = list(self.counts(self.targets(corpus)).values())
        if self.config.class_weights == "balanced":  # rows / (labels x rows of the label), as scikit-learn's "balanced"
            weights = [sum(counts) / (len(self.labels) * count) if count else 1.0 for count in counts]
        self.learned.class_weights = weights
        self.learned.counts = counts
        if len(self.labels) == 2:
            given = self.config.positive
            number = guess_positive(self.labels, counts) if given is None else space.positions(self.labels)[given]
            self.learned.positive = 1 if number else 0

    @property
    def positive(self) -> str | None:
        # Before it was guessed, the metrics were those of the second label.
        return self.labels[1 if self.learned.positive is None else self.learned.positive] if len(self.labels) == 2 else None

    def counts(self, targets: Targets) -> dict[str, int]:
        return space.counted(self.labels, targets.values[targets.present])

    def row_labels(self, targets: Targets) -> tuple[np.ndarray, np.ndarray]:
        rows = np.flatnonzero(targets.present & (targets.values < len(self.labels)))
        return rows, targets.values[rows]

    def baseline(self, corpus: Corpus) -> Decoded | None:
        if self.learned.counts is None:
            return None
        rows, counts = len(corpus), np.array(self.learned.counts)
        shares = (counts / max(counts.sum(), 1)).astype(np.float32)
        return Decoded(np.full(rows, counts.argmax()), np.broadcast_to(shares, (rows, len(shares))))

    def check_state(self, where: str) -> None:
        weights = self.learned.class_weights
        if len(self.labels) < 2 or (weights is not None and len(weights) != len(self.labels)):
            raise BadInput(
                f"{where}: found {len(self.labels)} labels and {len(weights or [])} weights, expected two or more of each"
            )
        if self.learned.counts is not None and len(self.learned.counts) != len(self.labels):
            raise BadInput(
                f"{where}: found {len(self.learned.counts)} counts of {len(self.labels)} labels, expected one of each"
            )
        if self.learned.positive is not None and len(self.labels) != 2:
            raise BadInput(f"{where}: found a positive label of {len(self.labels)}, expected one of two only")

    def metric_names(self) -> tuple[str, ...]:
        return (*metrics.SEQUENCE, *metrics.BINARY) if len(self.labels) == 2 else metrics.SEQUENCE

    def targets(self, corpus: Corpus, reading: space.Reading = space.STRICT) -> Targets:
        numbering = space.Numbering(self.labels, reading, corpus, self.config.label)
        values = np.zeros(len(corpus.table), np.int64)
        present = np.zeros(len(values), bool)
        for row, label in enumerate(_labels(self.name, self.config, corpus)):
            if label is not None:
                [values[row]], present[row] = numbering.of(row, [label]), True
        space.refuse_unlabelled(bool(present.any()), corpus, self.columns())
        numbering.check()
        return Targets(values, present, unseen=numbering.unseen, unseen_rows=len(numbering.rows))

    def for_loss(self, targets: Targets) -> Targets:
        return dataclasses.replace(targets, present=targets.present & (targets.values < len(self.labels)))

    def with_answers(self, answers: list[Any], corpus: Corpus) -> tuple[Task, Corpus]:
        given = [answer for answer in answers if answer is not None]
        as_they_stand = all(isinstance(answer, str) for answer in given) and not set(self.labels).isdisjoint(given)
        return self, corpus.holding({self.config.label: answers}, [self.config.label] if as_they_stand else ())

    def strata(self, corpus: Corpus) -> list[str]:
        return [label or "" for label in _labels(self.name, self.config, corpus)]

    def criterion(self) -> SequenceCriterion:
        return SequenceCriterion(len(self.labels), self.learned.class_weights, self.config.gamma or 0.0)

    def score(self, decoded: Decoded, targets: Targets) -> dict[str, Any]:
        rows = targets.present
        positive, unseen = 0 if self.learned.positive == 0 else 1, tuple(targets.unseen)
        return metrics.sequence_metrics(targets.values[rows], decoded.values[rows], self.labels, positive, unseen)

    def present(self, decoded: Decoded, corpus: Corpus) -> list[dict[str, Any]]:
        return [
            {"label": self.labels[label], "score": scores[label], "scores": dict(zip(self.labels, scores, strict=True))}
            for label, scores in zip(decoded.values.tolist(), decoded.scores.tolist(), strict=True)
        ]


def _labels(name: str, config: SequenceConfig, corpus: Corpus) -> list[str | None]:
    listed = any(map(spells_missing, config.label_list or ()))  # then it is a label, among numbers too
    missing = [] if listed and config.missing is None else config.missing
    return columns.labels(corpus.table, config.label, f"tasks.{name}.label", missing=missing)
