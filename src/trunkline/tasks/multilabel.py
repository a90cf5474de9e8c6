"""Any number of labels per text, none included: binary cross-entropy per label, a threshold for all of them or for each."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from trunkline.data import columns, label_sets
from trunkline.data.corpus import Corpus
from trunkline.data.values.label_spelling import NO
from trunkline.data.values.missing import is_missing, missing_hint
from trunkline.errors import BadInput
from trunkline.tasks import base, metrics
from trunkline.tasks import labels as space
from trunkline.tasks.answers import Targets, TextAnswers
from trunkline.tasks.base import Task, TextConfig, kinds
from trunkline.tasks.confidence import LabelSetConfidence
from trunkline.tasks.criterion import Criterion, Decoded, as_logits, divided
from trunkline.tasks.label_quality import LabelSetQuality
from trunkline.tasks.label_types import type_of_labels
from trunkline.tasks.thresholds import UNTUNED, best_constant, best_threshold, label_thresholds

Share = Annotated[float, Field(gt=0, lt=1)]


class MultilabelConfig(TextConfig):
    """`{kind: multilabel, labels: COLUMN}` of lists, vectors or strings (with `separator`); `labels: [COLUMNS]` of 0 and 1."""

    LATER: ClassVar[tuple[str, ...]] = (*TextConfig.LATER, "label_list", "blanks")

    kind: Literal["multilabel"] = "multilabel"
    labels: str | Annotated[list[str], Field(min_length=1)]
    label_list: space.LabelList | None = None  # all labels in the order wanted: of vectors, their places
    separator: Annotated[str, Field(min_length=1)] | None = None
    blanks: Literal["missing", 0] = "missing"  # what a blank cell of columns of 0 and 1 is
    threshold: Literal["tuned", "per_label"] | Share = "tuned"
    class_weights: space.ClassWeights = "none"  # of a label's positives

    @model_validator(mode="after")
    def _listed_once(self) -> MultilabelConfig:
        if self.label_list is not None and not isinstance(self.labels, str):
            raise ValueError("label_list names the labels of one column, but labels lists columns, which name their labels")
        if self.blanks == 0 and isinstance(self.labels, str):
            raise ValueError("blanks was given, but it belongs to labels that lists columns of 0 and 1")
        return self


class MultilabelLearned(base.Learned):
    """The threshold in use, and the weights of positives in the order of the labels, None for 1.

    Of the training rows, None in branches saved before they were measured: `shares`, of those that have each label, and
    `usual`, the numbers of the labels that are best predicted for every text alike (see `best_constant`).
    """

    threshold: Share = UNTUNED
    class_weights: list[space.Weight] | None = None
    shares: list[Annotated[float, Field(ge=0, le=1)]] | None = None
    usual: list[space.Count] | None = None


class MultilabelCriterion(Criterion):
    """Mean binary cross-entropy over texts and labels; the labels at or above the task's threshold."""

    weights: Tensor | None

    def __init__(self, task: MultilabelTask) -> None:
        super().__init__()
        self.task = task  # its threshold is tuned after the criterion was made
        weights = task.learned.class_weights
        self.register_buffer("weights", None if weights is None else torch.tensor(weights), persistent=False)

    def loss(self, logits: Tensor, targets: Tensor, groups: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
        positive = None if self.weights is None else self.weights.to(logits.device)  # whole splits are judged on the CPU
        rows = None if weights is None else weights.to(logits.device).float()[:, None]
        return F.binary_cross_entropy_with_logits(logits.float(), targets.float(), weight=rows, pos_weight=positive)

    def decode(
        self,
        logits: np.ndarray | Tensor,
        offsets: np.ndarray | None = None,
        *,
        temperature: float | None = None,
        thresholds: np.ndarray | float | None = None,
    ) -> Decoded:
        scores = self.probabilities(logits, temperature=temperature)
        held = self.task.learned.threshold if thresholds is None else np.asarray(thresholds, scores.dtype)
        return Decoded(scores >= held, scores)

    def probabilities(
        self, logits: np.ndarray | Tensor, offsets: np.ndarray | None = None, *, temperature: float | None = None
    ) -> np.ndarray:
        return torch.sigmoid(divided(as_logits(logits, self.task.outputs), temperature)).cpu().numpy()

    def logits_to_scale(self, logits: np.ndarray | Tensor, offsets: np.ndarray | None = None) -> np.ndarray:
        return as_logits(logits, self.task.outputs).cpu().numpy()


@kinds.register("multilabel")
class MultilabelTask(Task):
    """Any number of labels per text. Labels in a column are sorted; columns of 0 and 1 keep the order they are named in."""

    kind: ClassVar[str] = "multilabel"
    answers = TextAnswers
    confidence = LabelSetConfidence
    quality = LabelSetQuality
    Config = MultilabelConfig
    Learned = MultilabelLearned
    default_metric = "f1_micro"
    baseline_rule = "predicting the same labels, those that are best for the training rows"
    parts = ("labels", "scores")
    config: MultilabelConfig
    learned: MultilabelLearned

    def columns(self) -> list[str]:
        return [self.config.labels] if isinstance(self.config.labels, str) else list(self.config.labels)

    @classmethod
    def fit(cls, name: str, config: MultilabelConfig, corpus: Corpus) -> MultilabelTask:
        rows = _label_rows(name, config, corpus, config.label_list)
        counts = Counter(label for row in rows if row is not None for label in row)
        named = [config.labels] if isinstance(config.labels, str) else config.labels
        space.refuse_unlabelled(bool(counts), corpus, named)
        if isinstance(config.labels, str):
            length = label_sets.vector_length(corpus.table, config.labels, config.missing)
            listed = config.label_list or (None if length is None else label_sets.vector_names(length))
            labels = space.label_space(counts, listed, f"tasks.{name}.label_list")
        else:
            labels = space.label_space((), config.labels, f"tasks.{name}.labels")
        threshold = UNTUNED if isinstance(config.threshold, str) else config.threshold
        task = cls(name, config, labels, MultilabelLearned(threshold=threshold))
        if isinstance(config.labels, str) and length is None:  # else the labels are names of places or columns
            cells = columns.cells(corpus.table, config.labels, missing=config.missing)
            parts = (part for cell in cells if isinstance(cell, list) for part in cell if not is_missing(part))
            task.label_type = type_of_labels(parts, labels)
        task.targets(corpus)  # a label that label_list lacks
        task.learn(corpus)
        return task

    def learn(self, corpus: Corpus) -> None:
        weights = space.named_weights(self.config.class_weights, self.labels, f"tasks.{self.name}.class_weights")
        targets = self.targets(corpus)
        held = targets.values[targets.present]
        counts = held.sum(axis=0)
        self.learned.shares = (counts / len(held)).tolist()
        self.learned.usual = best_constant(held, self._tuned_for)
        if self.config.class_weights == "balanced":  # a label's positives weigh as much as its negatives
            weights = [(len(held) - count) / count if 0 < count < len(held) else 1.0 for count in counts.tolist()]
        self.learned.class_weights = weights

    def _rows(self, corpus: Corpus) -> list[list[str] | None]:
        return _label_rows(self.name, self.config, corpus, self.labels)

    def _vectors(self, corpus: Corpus) -> bool:
        """Whether the labels are in a column of multi-hot vectors."""
        named = self.config.labels
        return isinstance(named, str) and label_sets.vector_length(corpus.table, named, self.config.missing) is not None

    def findings(self, corpus: Corpus) -> list[str]:
        rows, config, named = self._rows(corpus), self.config, self.columns()
        read = [
            columns.labels(corpus.table, name, missing=config.missing) for name in named if not isinstance(config.labels, str)
        ]
        # A blank skips a row only in a column that has a 0.
        zeros = [name for name, cells in zip(named, read, strict=False) if NO & {str(cell).lower() for cell in cells}]
        holed = [False] * len(rows)
        vectors = self._vectors(corpus)
        if vectors and isinstance(config.labels, str):
            holed = label_sets.holed(corpus.table, config.labels, config.missing)
        there = [row is not None or hole for row, hole in zip(rows, holed, strict=True)]
        found = space.skipped(self.name, corpus, zeros or named, there, config.missing)
        if not isinstance(config.labels, str):
            blank = sum(row is not None and cell is None for one in read for row, cell in zip(rows, one, strict=True))
            if found:
                found = [f"{found[0]} One blank skips a row; `blanks: 0` in the task reads a blank as 0."]
            if blank and config.blanks == 0:
                found.append(f"{blank:,} blank cells of {self.name!r} count as 0, as `blanks: 0` says.")
            elif blank:
                found.append(
                    f"{blank:,} blank cells of {self.name!r} count as 0, in columns that hold nothing but 1 and blanks."
                )
            return found
        cells = columns.cells(corpus.table, config.labels, missing=config.missing)
        if holes := sum(holed):
            have, are = ("has", "is") if holes == 1 else ("have", "are")
            of = f"a missing value in the vector in {corpus.table.named(config.labels)}"
            found.append(f"{holes:,} of {len(rows):,} rows {have} {of}, and {are} skipped by {self.name!r}.")
        elif found and config.separator is None and not vectors:
            found = [f"{found[0]} An empty list would say that a text has none of the labels."]
        if blank := sum(cell is None and row == [] for cell, row in zip(cells, rows, strict=True)):
            empty = sum(isinstance(cell, str) and not cell.strip() for cell in cells)
            more = f" {empty:,} more have an empty string, which means the same;" if empty else ""
            found.append(
                f"{blank:,} of {len(rows):,} rows have a blank cell or null in {corpus.table.named(config.labels)}, which with "
                f"a separator means none of the labels;{more} {missing_hint([''])} makes them missing values, and skips "
                "these rows."
            )
        return found + self.changes(corpus)

    def changes(self, corpus: Corpus) -> list[str]:
        config, found = self.config, list[str]()
        if not isinstance(config.labels, str) or self._vectors(corpus):
            return found
        rows, cells = self._rows(corpus), columns.cells(corpus.table, config.labels, missing=config.missing)
        lists = [cell for cell in cells if isinstance(cell, list)]
        blank = sum(is_missing(part) or (isinstance(part, str) and not part.strip()) for cell in lists for part in cell)
        kept = sum(len(row or ()) for cell, row in zip(cells, rows, strict=True) if isinstance(cell, list))
        if twice := sum(map(len, lists)) - blank - kept:
            found.append(f"{twice:,} labels of {self.name!r} stand twice in one list, and count once.")
        if blank:
            found.append(f"{blank:,} labels of {self.name!r} are blank, and left out.")
        return found

    def label_findings(self, corpus: Corpus) -> list[str]:
        config = self.config
        if not isinstance(config.labels, str):
            return []
        if self._vectors(corpus) and config.label_list is None:
            names = f"{self.labels[0]} to {self.labels[-1]}"
            said = f"{self.name!r}: {corpus.table.named(config.labels)} holds vectors of {len(self.labels)} zeros and ones"
            return [f"{said}; their labels are called {names}, unless `label_list` names them."]
        counts = Counter(label for row in self._rows(corpus) for label in row or ())
        cells = columns.cells(corpus.table, config.labels, missing=config.missing)
        parts = [part for cell in cells if isinstance(cell, list) for part in cell if not is_missing(part)]
        types = space.of_two_types(self.name, parts, [columns.label_of(part) for part in parts])
        types += label_sets.told_single(self.name, corpus.table, config.labels, config.missing)
        return types + space.doubtful(self.name, counts, config.missing, config.label_list)

    @property
    def cell_separator(self) -> str | None:
        mark = self.config.separator
        return mark if mark is not None and label_sets.come_back(self.labels, mark) else None

    def counts(self, targets: Targets) -> dict[str, int]:
        held = targets.values[targets.present][:, : self.outputs]
        return dict(zip(self.labels, held.sum(axis=0).tolist(), strict=True))

    def row_labels(self, targets: Targets) -> tuple[np.ndarray, np.ndarray]:
        rows, labels = np.nonzero(targets.values[:, : self.outputs] & targets.present[:, None])
        return rows, labels

    def baseline(self, corpus: Corpus) -> Decoded | None:
        if self.learned.usual is None or self.learned.shares is None:
            return None
        held = np.isin(np.arange(len(self.labels)), self.learned.usual)
        shape = len(corpus), len(self.labels)
        return Decoded(np.broadcast_to(held, shape), np.broadcast_to(np.array(self.learned.shares, np.float32), shape))

    def first_logits(self, targets: Targets) -> Tensor:
        """The log-odds of each label, fp32 (L,): else the many absent ones are all that the first steps learn, and a head on a
        changed trunk may never recover (Lin et al. 2017, Focal loss, arXiv 1708.02002, 3.3). Rows are counted with half a row
        more on either side, and positives by their weight.
        """
        held = targets.values[targets.present]
        positives = held.sum(axis=0)
        odds = torch.from_numpy((positives + 0.5) / (len(held) - positives + 0.5)).float()
        weights = self.learned.class_weights
        return torch.log(odds if weights is None else odds * torch.tensor(weights))

    def check_state(self, where: str) -> None:
        weights = self.learned.class_weights
        if not self.labels or (weights is not None and len(weights) != len(self.labels)):
            raise BadInput(
                f"{where}: found {len(self.labels)} labels and {len(weights or [])} weights, expected as many of each"
            )
        shares, usual = self.learned.shares, self.learned.usual or []
        if (shares is not None and len(shares) != len(self.labels)) or any(number >= len(self.labels) for number in usual):
            raise BadInput(f"{where}: found shares of other labels, expected one of each of the {len(self.labels)} labels")

    def metric_names(self) -> tuple[str, ...]:
        return metrics.MULTILABEL

    def targets(self, corpus: Corpus, reading: space.Reading = space.STRICT) -> Targets:
        rows = self._rows(corpus)
        numbering = space.Numbering(self.labels, reading, corpus, self.columns()[0])
        numbers = [numbering.of(i, row) if row else [] for i, row in enumerate(rows)]
        values = np.zeros((len(rows), len(self.labels) + len(numbering.unseen)), bool)
        for i, own in enumerate(numbers):
            values[i, own] = True
        present = np.array([row is not None for row in rows], bool)
        space.refuse_unlabelled(bool(present.any()), corpus, self.columns())
        numbering.check()
        return Targets(values, present, unseen=numbering.unseen, unseen_rows=len(numbering.rows))

    def for_loss(self, targets: Targets) -> Targets:
        return dataclasses.replace(targets, values=targets.values[:, : self.outputs])

    def with_answers(self, answers: list[Any], corpus: Corpus) -> tuple[Task, Corpus]:
        return self.reading_lists("labels"), corpus.holding({"labels": [self._named(answer) for answer in answers]})

    def reading_lists(self, column: str) -> MultilabelTask:
        """The task as it reads its answers from one column of lists of labels, as its predictions are."""
        config = self.config.model_copy(update={"labels": column, "separator": None, "blanks": "missing"})
        twin = MultilabelTask(self.name, config, self.labels, self.learned)
        twin.label_type = self.label_type
        return twin

    def _named(self, answer: Any) -> Any:
        """The labels that a vector of 0 and 1 says, one for each label in order; anything else as it is."""
        if not isinstance(answer, list) or len(answer) != self.outputs or not all(one in (0, 1) for one in answer):
            return answer
        return [label for label, holds in zip(self.labels, answer, strict=True) if holds]

    def strata(self, corpus: Corpus) -> list[str]:
        return space.rarest_labels(self._rows(corpus))

    def criterion(self) -> MultilabelCriterion:
        return MultilabelCriterion(self)

    def tune(self, logits: np.ndarray | Tensor, targets: Targets) -> dict[str, Any]:
        """Choose the threshold with the best monitored metric on these rows, unless the config names a threshold; for
        `threshold: per_label` also that of each label that has enough positive rows (see `label_thresholds`).

        Where the metric does not want a threshold of its own (average precision, the loss, a precision or a recall, which
        is best at a trivial one), micro F1 decides. Of equally good thresholds the one nearest 0.5 is taken.

        Args:
            logits: (texts, L).
            targets: of the same texts.
        """
        if not isinstance(self.config.threshold, str) or not targets.values[targets.present].any():
            return {}
        true = targets.values[targets.present]
        scores = torch.sigmoid(as_logits(logits, self.outputs)).cpu().numpy()[targets.present]
        every = metrics.with_unseen(scores, len(targets.unseen))
        chosen = best_threshold(true, every, self._tuned_for)
        self.learned.threshold = chosen["threshold"]
        if self.config.threshold == "per_label":
            found = label_thresholds(true[:, : self.outputs], scores, self.learned.threshold, self._tuned_for)
            decoded = Decoded(scores >= found.astype(scores.dtype), scores)
            tuned = self.score(decoded, dataclasses.replace(targets, values=true, present=np.ones(len(true), bool)))
            chosen |= {"thresholds": found.tolist(), "tuned": tuned[self._tuned_for]}
        return chosen

    @property
    def _tuned_for(self) -> str:
        """The metric that a threshold, or a constant answer, is chosen by."""
        return self.monitor if self.monitor.startswith("f1_") or self.monitor == "accuracy" else "f1_micro"

    def score(self, decoded: Decoded, targets: Targets) -> dict[str, Any]:
        rows = targets.present
        predicted, scores = (
            metrics.with_unseen(found[rows], len(targets.unseen)) for found in (decoded.values, decoded.scores)
        )
        return metrics.multilabel_metrics(targets.values[rows], predicted, scores, self.labels, tuple(targets.unseen))

    def present(self, decoded: Decoded, corpus: Corpus) -> list[dict[str, Any]]:
        return [
            {
                "labels": [label for label, holds in zip(self.labels, row, strict=True) if holds],
                "scores": dict(zip(self.labels, scores, strict=True)),
            }
            for row, scores in zip(decoded.values.tolist(), decoded.scores.tolist(), strict=True)
        ]


def _label_rows(name: str, config: MultilabelConfig, corpus: Corpus, names: list[str] | None) -> list[list[str] | None]:
    """Return the labels of each row; `names` are those of the places of vectors."""
    where = f"tasks.{name}.labels"
    if not isinstance(config.labels, str):
        zero = config.blanks == 0
        return label_sets.indicators(corpus.table, config.labels, where, missing=config.missing, zero=zero)
    return label_sets.label_sets(
        corpus.table, config.labels, where, separator=config.separator, names=names, missing=config.missing
    )
