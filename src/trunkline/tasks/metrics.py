"""Metrics of every kind of task as flat names, through scikit-learn and scipy.

Precision, recall, F1 and Matthews correlation with a denominator of 0 are 0.0 (scikit-learn's zero_division=0); a
correlation with something constant, r2 of fewer than two rows and average precision without a positive are None.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from trunkline.tasks.spans import count_spans, find_spans

AVERAGES = ("macro", "micro", "weighted")
_AVERAGED = tuple(f"{name}_{average}" for average in AVERAGES for name in ("precision", "recall", "f1"))
SEQUENCE = ("accuracy", *_AVERAGED, "matthews")
BINARY = ("precision", "recall", "f1")
MULTILABEL = ("accuracy", *_AVERAGED, "average_precision")
REGRESSION = ("pearson", "spearman", "mse", "mae", "r2")
SAMPLE = 300  # pairs of a true and a predicted number that are kept of a regression, to be drawn
TOKEN = ("precision", "recall", "f1", "precision_macro", "recall_macro", "f1_macro", "accuracy")


def with_unseen(found: np.ndarray, unseen: int) -> np.ndarray:
    """Return predictions or scores (texts, L) with 0 for each of `unseen` more labels, as they are never predicted."""
    return np.pad(found, ((0, 0), (0, unseen))) if unseen else found


def sequence_metrics(
    true: np.ndarray, predicted: np.ndarray, labels: list[str], positive: int = 1, unseen: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return SEQUENCE, for two labels also BINARY (of the positive one), by_label and confusion.

    Macro and weighted means are over the labels that occur in `true` or `predicted`, as scikit-learn's default is.

    Args:
        true: (texts,) label numbers.
        predicted: (texts,) label numbers.
        labels: their names.
        positive: which of two labels is the positive one.
        unseen: names of further numbers that are in `true` only.
    """
    from sklearn import metrics as sk  # here, as predicting needs none of it and it takes a second to load

    result: dict[str, Any] = {"accuracy": float(sk.accuracy_score(true, predicted))}
    result |= _averages(true, predicted)
    with warnings.catch_warnings():  # one label only: scikit-learn says so, and returns 0.0
        warnings.simplefilter("ignore")
        result["matthews"] = float(sk.matthews_corrcoef(true, predicted))
    result["by_label"] = _by_label(true, predicted, [*labels, *unseen])
    result["confusion"] = confusion(true, predicted, [*labels, *unseen])
    if len(labels) == 2:
        result |= {name: result["by_label"][labels[positive]][name] for name in BINARY}
    return result


def multilabel_metrics(true: np.ndarray, predicted: np.ndarray, scores: np.ndarray, labels: list[str]) -> dict[str, Any]:
    """Return MULTILABEL and by_label; "accuracy" is the share of texts whose whole set of labels is right.

    "average_precision" is the mean over the labels that occur in `true`; the other means are over all labels.

    Args:
        true: (texts, L) bool.
        predicted: (texts, L) bool.
        scores: (texts, L) probabilities.
        labels: their names.
    """
    from sklearn import metrics as sk  # here, as predicting needs none of it and it takes a second to load

    result: dict[str, Any] = {"accuracy": float((true == predicted).all(axis=1).mean())}
    result |= _averages(true, predicted) if len(labels) > 1 else _averages(true[:, 0], predicted[:, 0], only=1)
    occur = true.any(axis=0)
    result["average_precision"] = (
        float(np.mean([sk.average_precision_score(true[:, i], scores[:, i]) for i in np.flatnonzero(occur)]))
        if occur.any()
        else None
    )
    result["by_label"] = (
        _by_label(true, predicted, labels) if len(labels) > 1 else _by_label(true[:, 0], predicted[:, 0], labels, 1)
    )
    return result


def confusion(true: np.ndarray, predicted: np.ndarray, labels: list[str]) -> dict[str, dict[str, int]]:
    """Return how many texts of each label got which: {true: {predicted: texts}}, without the pairs that do not occur."""
    pairs, counts = np.unique(np.stack([true, predicted]), axis=1, return_counts=True)
    found: dict[str, dict[str, int]] = {}
    for one, other, count in zip(*pairs.tolist(), counts.tolist(), strict=True):
        found.setdefault(labels[one], {})[labels[other]] = count
    return found


def regression_metrics(true: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """Return REGRESSION for (texts,) numbers; errors are in the units of the target. `sample` has some of the numbers."""
    from scipy import stats  # here, as predicting needs none of it and it takes a second to load
    from sklearn import metrics as sk

    varied = len(true) > 1 and np.ptp(true) > 0 and np.ptp(predicted) > 0
    with warnings.catch_warnings():  # near-constant predictions: the value is kept, the remark is not needed
        warnings.simplefilter("ignore")
        pearson = number_or_none(stats.pearsonr(true, predicted)[0]) if varied else None
        spearman = number_or_none(stats.spearmanr(true, predicted)[0]) if varied else None
    return {
        "pearson": pearson,
        "spearman": spearman,
        "mse": float(sk.mean_squared_error(true, predicted)),
        "mae": float(sk.mean_absolute_error(true, predicted)),
        "r2": float(sk.r2_score(true, predicted)) if len(true) > 1 else None,
        "sample": _sample(true, predicted),
    }


def _sample(true: np.ndarray, predicted: np.ndarray) -> dict[str, dict[str, float | None]]:
    """At most SAMPLE rows, evenly spaced: {number of the row: {true, predicted}}."""
    rows: list[int] = np.linspace(0, len(true) - 1, min(SAMPLE, len(true))).round().astype(int).tolist()
    return {str(row): {"true": number_or_none(true[row]), "predicted": number_or_none(predicted[row])} for row in rows}


def token_metrics(true: np.ndarray, predicted: np.ndarray, offsets: np.ndarray, types: list[str]) -> dict[str, Any]:
    """Return TOKEN (span scores as conlleval's: micro, and macro over the types that occur) and by_label per entity type.

    Args:
        true: (U,) tag numbers.
        predicted: (U,) tag numbers.
        offsets: (texts + 1,).
        types: names of the entity types.
    """
    counts = count_spans(find_spans(true, offsets), find_spans(predicted, offsets), len(types))
    by_type = np.array([_from_counts(*row) for row in counts.tolist()]).reshape(-1, 3)
    micro, occur = _from_counts(*counts.sum(axis=0).tolist()), counts.sum(axis=1) > 0
    macro = by_type[occur].mean(axis=0) if occur.any() else np.zeros(3)
    result: dict[str, Any] = dict(zip(TOKEN, (*micro, *macro.tolist()), strict=False))
    result["accuracy"] = float((true == predicted).mean()) if len(true) else None
    result["by_label"] = {
        name: dict(zip(BINARY, scores, strict=True)) | {"support": gold, "predicted": guessed}
        for name, scores, (_, guessed, gold) in zip(types, by_type.tolist(), counts.tolist(), strict=True)
    }
    return result


def _from_counts(right: int, predicted: int, gold: int) -> tuple[float, float, float]:
    """Return precision, recall and F1."""
    return (
        right / predicted if predicted else 0.0,
        right / gold if gold else 0.0,
        2 * right / (predicted + gold) if predicted + gold else 0.0,
    )


def _averages(true: np.ndarray, predicted: np.ndarray, only: int | None = None) -> dict[str, float]:
    from sklearn import metrics as sk

    result: dict[str, float] = {}
    labels = None if only is None else [only]
    for average in AVERAGES:
        values = sk.precision_recall_fscore_support(true, predicted, labels=labels, average=average, zero_division=0)[:3]
        result |= {f"{name}_{average}": float(value) for name, value in zip(BINARY, values, strict=True)}
    return result


def _by_label(true: np.ndarray, predicted: np.ndarray, labels: list[str], only: int | None = None) -> dict[str, dict[str, Any]]:
    from sklearn import metrics as sk

    numbers = list(range(len(labels))) if only is None else [only]
    columns = sk.precision_recall_fscore_support(true, predicted, labels=numbers, average=None, zero_division=0)
    guessed = predicted.sum(axis=0) if predicted.ndim == 2 else np.array([(predicted == number).sum() for number in numbers])
    rows = zip(*(column.tolist() for column in (*columns, guessed)), strict=True)
    return {
        label: {"precision": p, "recall": r, "f1": f, "support": int(n), "predicted": int(m)}
        for label, (p, r, f, n, m) in zip(labels, rows, strict=True)
    }


def number_or_none(value: float) -> float | None:
    """Return `value` as a plain float, None where it is NaN or infinite."""
    return float(value) if math.isfinite(value) else None
