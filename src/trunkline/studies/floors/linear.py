"""Linear models over features of whole texts: logistic regression and ridge regression of scikit-learn, C chosen on validation.

One label:       logistic regression over the labels that the training rows have; the others get the least logit.
Several labels:  one logistic regression for each label against the rest; thresholds are chosen as the task chooses them.
A number:        ridge regression of the standardised target, with a penalty of 1 / C.

Weights of rows and classes count as in the loss of a branch. Each model begins where that of the smaller C has ended.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge

from trunkline.studies.floors.base import Measured, Subject, better, score
from trunkline.tasks import Criterion, Decoded, Targets, Task
from trunkline.tasks.answers import SURE
from trunkline.training.answered import KeptAnswers
from trunkline.training.run import of_its_own

TOLERANCE = 1e-5  # of lbfgs; with sklearn's own of 1e-4 the model of a larger C ends where it begins
STEPS = 2000

Features = Mapping[str, Any]  # by split, a matrix (texts, F), dense or of scipy.sparse


class Model(ABC):
    """A linear model of one task, fitted to all training rows that have a label.

    Attributes:
        unfinished: whether the last fit came to the limit of its steps.
    """

    unfinished = False

    def __init__(self, task: Any, targets: Targets) -> None:
        self.task, self.rows = task, np.flatnonzero(targets.present)
        self.values = targets.values[self.rows]
        self.weights = np.ones(len(self.rows)) if targets.weights is None else targets.weights[self.rows]

    @abstractmethod
    def fit(self, features: Any, c: float) -> None:
        """Fit to features (R, F) of the rows that have a label; C is the inverse of the penalty."""

    @abstractmethod
    def logits(self, features: Any) -> np.ndarray:
        """Return what the task's criterion decodes, fp32 (texts, outputs)."""

    @property
    @abstractmethod
    def size(self) -> int:
        """How many coefficients it has."""


class OneLabel(Model):
    """Multinomial logistic regression; of two labels, the same with one vector of coefficients."""

    def __init__(self, task: Any, targets: Targets) -> None:
        super().__init__(task, targets)
        by_class = task.learned.class_weights
        self._weights = self.weights if by_class is None else self.weights * np.array(by_class)[self.values]
        self._labels = np.unique(self.values)
        self._model = logistic()

    def fit(self, features: Any, c: float) -> None:
        if len(self._labels) > 1:
            self._model.set_params(C=c).fit(features, self.values, self._weights)
            self.unfinished = unfinished(self._model)

    def logits(self, features: Any) -> np.ndarray:
        found = np.full((features.shape[0], self.task.outputs), -SURE, np.float32)
        shares = np.zeros((len(found), 1))
        if len(self._labels) > 1:
            own = self._model.decision_function(features)
            shares = log_softmax(own if own.ndim == 2 else np.stack([np.zeros_like(own), own], axis=1), axis=1)
        found[:, self._labels] = np.maximum(shares, -SURE)
        return found

    @property
    def size(self) -> int:
        return coefficients(self._model) if len(self._labels) > 1 else 1


class SeveralLabels(Model):
    """A logistic regression for each label; a label that all or none of the rows have keeps its log-odds."""

    def __init__(self, task: Any, targets: Targets) -> None:
        super().__init__(task, targets)
        positives = self.values.sum(axis=0)
        self._odds = np.log((positives + 0.5) / (len(self.values) - positives + 0.5))
        self._models = {int(label): logistic() for label in np.flatnonzero((positives > 0) & (positives < len(self.values)))}

    def fit(self, features: Any, c: float) -> None:
        by_class = self.task.learned.class_weights
        for label, model in self._models.items():
            own = self.values[:, label]
            weights = self.weights if by_class is None else self.weights * np.where(own, by_class[label], 1.0)
            model.set_params(C=c).fit(features, own, weights)
        self.unfinished = any(map(unfinished, self._models.values()))

    def logits(self, features: Any) -> np.ndarray:
        found = np.tile(self._odds.astype(np.float32), (features.shape[0], 1))
        for label, model in self._models.items():
            found[:, label] = model.decision_function(features)
        return found

    @property
    def size(self) -> int:
        return sum(map(coefficients, self._models.values())) + len(self._odds) - len(self._models)


class Number(Model):
    """Ridge regression."""

    def __init__(self, task: Any, targets: Targets) -> None:
        super().__init__(task, targets)
        self._standard = (self.values - task.learned.mean) / task.learned.std
        self._model = Ridge(tol=1e-6, random_state=0)

    def fit(self, features: Any, c: float) -> None:
        self._model.set_params(alpha=1 / c).fit(features, self._standard, self.weights)

    def logits(self, features: Any) -> np.ndarray:
        return self._model.predict(features).astype(np.float32)[:, None]

    @property
    def size(self) -> int:
        return coefficients(self._model)


MODELS: dict[str, type[Model]] = {"sequence": OneLabel, "multilabel": SeveralLabels, "regression": Number}


def logistic() -> LogisticRegression:
    return LogisticRegression(tol=TOLERANCE, max_iter=STEPS, warm_start=True)


def unfinished(model: LogisticRegression) -> bool:
    return bool(np.max(model.n_iter_) >= STEPS)


def coefficients(model: Any) -> int:
    return int(np.size(model.coef_) + np.size(model.intercept_))


def regression_of(task: Task) -> str:
    """What a model of a task is called."""
    return "ridge regression" if MODELS[task.kind] is Number else "logistic regression"


def unsuited(task: Task) -> str | None:
    """Why there is no linear model for a task, in words that follow "as"; None where there is one."""
    if task.answers.level == "unit":
        return "what is known of a whole text does not tell its words apart"
    return None if task.kind in MODELS else f"it has no model for tasks of kind {task.kind}"


def best_linear(
    subject: Subject, forms: Iterable[tuple[dict[str, Any], Callable[[], Features]]], grid: Sequence[float]
) -> Measured:
    """Fit models with each C to each form of the features; return the best on validation by the task's monitored metric.

    Args:
        subject: the task.
        forms: what is told of a form that was chosen, and what makes its features; each is made once, and let go of.
        grid: values of C, rising. Of equally good models that with the smaller C is taken, then that of the earlier form.
    """
    monitor = subject.task.monitor
    best: Measured | None = None
    slow: list[str] = []
    for chosen, make in forms:
        features, model = make(), MODELS[subject.task.kind](subject.task, subject.targets("train"))
        train = features["train"][model.rows]
        for c in grid:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # said below
                model.fit(train, c)
            if model.unfinished:
                slow.append(" ".join([*map(str, chosen.values()), f"C={c:g}"]))
            judge = Judge(subject, model.logits(features["validation"]))
            value = judge.metrics.get(monitor)
            leading = None if best is None else best.metrics["validation"].get(monitor)
            tied = best is not None and value == leading and c < best.chosen["C"]
            if best is None or tied or better(subject.task, value, leading):
                best = _measured(judge, model, features, {**chosen, "C": c})
    assert best is not None
    if slow:
        best = replace(best, findings=[f"after {STEPS:,} steps, these models had not converged: {', '.join(slow)}."])
    return best


def _measured(judge: Judge, model: Model, features: Features, chosen: dict[str, Any]) -> Measured:
    metrics, answers = {"validation": judge.metrics}, None
    if "test" in features:
        metrics["test"], answers = judge.of_test(model.logits(features["test"]))
    return Measured(metrics, answers, model.size, chosen)


class Judge:
    """Logits judged as a branch's are: thresholds are chosen on validation, then both splits are scored.

    Args:
        subject: the task.
        logits: of validation.

    Attributes:
        metrics: of validation.
    """

    def __init__(self, subject: Subject, logits: np.ndarray) -> None:
        self._subject, self._task = subject, of_its_own(subject.task)
        self._criterion: Criterion = self._task.criterion()
        tuned = self._task.tune(logits, subject.targets("validation"))
        self._thresholds = np.array(tuned["thresholds"]) if "thresholds" in tuned else None
        self.metrics, _ = self._scored(logits, subject.targets("validation"))

    def of_test(self, logits: np.ndarray) -> tuple[dict[str, Any], KeptAnswers]:
        targets = self._subject.targets("test")
        metrics, decoded = self._scored(logits, targets)
        return metrics, KeptAnswers.of(self._task, decoded, targets)

    def _scored(self, logits: np.ndarray, targets: Targets) -> tuple[dict[str, Any], Decoded]:
        decoded = self._criterion.decode(logits, thresholds=self._thresholds)
        return {"loss": self._loss(logits, targets), **score(self._task, decoded, targets)}, decoded

    def _loss(self, logits: np.ndarray, targets: Targets) -> float | None:
        own = self._task.for_loss(targets)
        if not own.present.any():
            return None
        rows = torch.from_numpy(own.present)
        with torch.no_grad():
            return float(self._criterion.loss(torch.from_numpy(logits)[rows], torch.from_numpy(own.values)[rows]))
