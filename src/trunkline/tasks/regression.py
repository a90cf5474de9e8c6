"""A number per text: mean squared error on targets standardised by the mean and deviation of the training corpus."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from trunkline.data import columns
from trunkline.data.corpus import Corpus
from trunkline.data.values.numerals import PLAIN
from trunkline.errors import BadInput
from trunkline.tasks import base, metrics
from trunkline.tasks import labels as space
from trunkline.tasks.answers import Targets, TextAnswers
from trunkline.tasks.base import Task, TextConfig, kinds
from trunkline.tasks.criterion import Criterion, Decoded, as_logits
from trunkline.trunk.machine import widest

BINS = 10  # quantile groups of a stratified draw


class RegressionConfig(TextConfig):
    """`{kind: regression, target: COLUMN}`."""

    kind: Literal["regression"] = "regression"
    target: str


class RegressionLearned(base.Learned):
    """Mean and standard deviation of the training targets."""

    mean: float
    std: float = Field(gt=0)


class RegressionCriterion(Criterion):
    """Mean squared error of standardised targets; predictions in the units of the column."""

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.mean, self.std = mean, std

    def loss(self, logits: Tensor, targets: Tensor, groups: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
        standard = (targets.to(widest(targets.device)) - self.mean) / self.std
        if weights is not None:
            return (weights.to(logits.device).float() * (logits[:, 0].float() - standard.float()) ** 2).mean()
        return torch.nn.functional.mse_loss(logits[:, 0].float(), standard.float())

    def decode(
        self,
        logits: np.ndarray | Tensor,
        offsets: np.ndarray | None = None,
        *,
        temperature: float | None = None,
        thresholds: np.ndarray | float | None = None,
    ) -> Decoded:
        values = as_logits(logits, 1)[:, 0].cpu().numpy().astype(np.float64) * self.std + self.mean
        return Decoded(values, values)


@kinds.register("regression")
class RegressionTask(Task):
    """A number per text. Cells may be numbers or their text, as CSV has them."""

    kind: ClassVar[str] = "regression"
    answers = TextAnswers
    Config = RegressionConfig
    Learned = RegressionLearned
    default_metric = "pearson"
    baseline_rule = "predicting the mean of the training rows"
    parts = ("value",)
    config: RegressionConfig
    learned: RegressionLearned

    def columns(self) -> list[str]:
        return [self.config.target]

    @classmethod
    def fit(cls, name: str, config: RegressionConfig, corpus: Corpus) -> RegressionTask:
        task = cls(name, config, ["value"], RegressionLearned(mean=0.0, std=1.0))
        task.learn(corpus)
        return task

    def learn(self, corpus: Corpus) -> None:
        numbers = _numbers(self.name, self.config, corpus)
        numbers = numbers[~np.isnan(numbers)]
        space.refuse_unlabelled(len(numbers) > 0, corpus, self.columns())
        with np.errstate(over="ignore"):
            mean, std = float(numbers.mean()), float(numbers.std())
        low, high = float(numbers.min()), float(numbers.max())
        if low == high or not (math.isfinite(mean) and math.isfinite(std) and std > 0):
            where = space.place(corpus.table, self.columns())
            raise BadInput(f"{where}: found numbers from {low:g} to {high:g}, expected ones that differ, by less than 1e150")
        self.learned.mean, self.learned.std = mean, std

    def findings(self, corpus: Corpus) -> list[str]:
        present = (~np.isnan(_numbers(self.name, self.config, corpus))).tolist()
        return space.skipped(self.name, corpus, self.columns(), present, self.config.missing)

    def label_findings(self, corpus: Corpus) -> list[str]:
        how = columns.notation(corpus.table, self.config.target, missing=self.config.missing)
        if how == PLAIN:
            return []
        return [f"{self.name!r}: the numbers of {corpus.table.named(self.config.target)} were read with {how.words}."]

    def baseline(self, corpus: Corpus) -> Decoded:
        values = np.full(len(corpus), self.learned.mean)
        return Decoded(values, values)

    def check_state(self, where: str) -> None:
        if self.labels != ["value"]:
            raise BadInput(f"{where}: labels: found {self.labels}, expected ['value']")

    @property
    def named_labels(self) -> None:
        return None

    @property
    def scale(self) -> tuple[float, float]:
        return self.learned.mean, self.learned.std

    def metric_names(self) -> tuple[str, ...]:
        return metrics.REGRESSION

    def targets(self, corpus: Corpus, reading: space.Reading = space.STRICT) -> Targets:
        numbers = _numbers(self.name, self.config, corpus)
        present = ~np.isnan(numbers)
        space.refuse_unlabelled(bool(present.any()), corpus, self.columns())
        return Targets(np.where(present, numbers, 0.0), present)

    def with_answers(self, answers: list[Any], corpus: Corpus) -> tuple[Task, Corpus]:
        return self, corpus.holding({self.config.target: answers})

    def strata(self, corpus: Corpus) -> list[str]:
        numbers = _numbers(self.name, self.config, corpus)
        present = ~np.isnan(numbers)
        if not present.any():
            return [""] * len(numbers)
        edges = np.quantile(numbers[present], np.arange(1, BINS) / BINS)
        bins = np.searchsorted(edges, numbers, side="right").tolist()
        return [str(b) if there else "" for b, there in zip(bins, present.tolist(), strict=True)]

    def criterion(self) -> RegressionCriterion:
        return RegressionCriterion(self.learned.mean, self.learned.std)

    def score(self, decoded: Decoded, targets: Targets) -> dict[str, Any]:
        rows = targets.present
        return metrics.regression_metrics(targets.values[rows], decoded.values[rows])

    def present(self, decoded: Decoded, corpus: Corpus) -> list[dict[str, Any]]:
        return [{"value": value} for value in decoded.values.tolist()]


def _numbers(name: str, config: RegressionConfig, corpus: Corpus) -> np.ndarray:
    """Return fp64 (texts,), NaN where missing."""
    numbers = columns.numbers(corpus.table, config.target, f"tasks.{name}.target", missing=config.missing)
    return np.array([np.nan if number is None else number for number in numbers], np.float64)
