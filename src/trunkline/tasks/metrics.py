"""Metrics of every kind of task as flat names.

Precision, recall and F1 of labels and of spans come from the same counts; the other metrics are scikit-learn's and scipy's.
With a denominator of 0 they are 0.0 (zero_division=0); a correlation with something constant, r2 of fewer than two rows and
average precision without a positive are None.
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
    names = [*labels, *unseen]
    counted = [np.bincount(values, minlength=len(names)) for values in (true[true == predicted], predicted, true)]
    right, guessed, gold = counted
    result: dict[str, Any] = {"accuracy": float((true == predicted).mean())}
    result |= _averages(*counted)
    result["matthews"] = _matthews(true, predicted)
    result["by_label"] = _by_label(labels, unseen, right, guessed, gold)
    result["confusion"] = confusion(true, predicted, names)
    if len(labels) == 2:
        result |= {name: result["by_label"][labels[positive]][name] for name in BINARY}
    return result


def multilabel_metrics(
    true: np.ndarray, predicted: np.ndarray, scores: np.ndarray, labels: list[str], unseen: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return MULTILABEL and by_label; "accuracy" is the share of texts whose whole set of labels is right.

    Macro and weighted means are over the labels that occur in `true` or `predicted`, as of `sequence_metrics`;
    "average_precision" is the mean over those that occur in `true`.

    Args:
        true: (texts, L) bool, the unseen labels last.
        predicted: (texts, L) bool.
        scores: (texts, L) probabilities.
        labels: names of the labels but the unseen ones.
        unseen: names of the further labels, that are in `true` only.
    """
    from sklearn import metrics as sk  # here, as predicting needs none of it and it takes a second to load

    result: dict[str, Any] = {"accuracy": float((true == predicted).all(axis=1).mean())}
    counted = [values.sum(axis=0) for values in (true & predicted, predicted, true)]
    result |= _averages(*counted)
    occur = true.any(axis=0)
    result["average_precision"] = (
        float(np.mean([sk.average_precision_score(true[:, i], scores[:, i]) for i in np.flatnonzero(occur)]))
        if occur.any()
        else None
    )
    result["by_label"] = _by_label(labels, unseen, *counted)
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


def token_metrics(
    true: np.ndarray, predicted: np.ndarray, offsets: np.ndarray, types: list[str], unseen: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return TOKEN (span scores as conlleval's: micro, and macro over the types that occur) and by_label per entity type.

    Args:
        true: (U,) tag numbers.
        predicted: (U,) tag numbers.
        offsets: (texts + 1,).
        types: names of the entity types.
        unseen: names of further entity types, that are in `true` only.
    """
    counts = count_spans(find_spans(true, offsets), find_spans(predicted, offsets), len(types) + len(unseen))
    by_type, micro, occur = _scores(*counts.T), _scores(*counts.sum(axis=0)[:, None])[0], counts.sum(axis=1) > 0
    macro = by_type[occur].mean(axis=0) if occur.any() else np.zeros(3)
    result: dict[str, Any] = dict(zip(TOKEN, (*micro.tolist(), *macro.tolist()), strict=False))
    result["accuracy"] = float((true == predicted).mean()) if len(true) else None
    result["by_label"] = _by_label(types, unseen, *counts.T)
    return result


def _scores(right: np.ndarray, predicted: np.ndarray, gold: np.ndarray) -> np.ndarray:
    """Return precision, recall and F1, (L, 3), from the counts of each label, (L,)."""
    shares = ((right, predicted), (right, gold), (2 * right, predicted + gold))
    return np.stack([np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0) for part, whole in shares], axis=1)


def _averages(right: np.ndarray, predicted: np.ndarray, gold: np.ndarray) -> dict[str, float]:
    """Return the averages of precision, recall and F1 over the labels that occur, from the counts of each label, (L,)."""
    occur = predicted + gold > 0
    right, predicted, gold = right[occur], predicted[occur], gold[occur]
    by_label = _scores(right, predicted, gold)
    means = {
        "macro": by_label.mean(axis=0) if occur.any() else np.zeros(3),
        "micro": _scores(*(np.array([counts.sum()]) for counts in (right, predicted, gold)))[0],
        "weighted": np.average(by_label, axis=0, weights=gold) if gold.any() else np.zeros(3),
    }
    return {f"{name}_{kind}": value for kind, mean in means.items() for name, value in zip(BINARY, mean.tolist(), strict=True)}


def _matthews(true: np.ndarray, predicted: np.ndarray) -> float:
    from sklearn import metrics as sk  # here, as predicting needs none of it and it takes a second to load

    with warnings.catch_warnings():  # one label only: scikit-learn says so, and returns 0.0
        warnings.simplefilter("ignore")
        return float(sk.matthews_corrcoef(true, predicted))


def _by_label(
    labels: list[str], unseen: tuple[str, ...], right: np.ndarray, predicted: np.ndarray, gold: np.ndarray
) -> dict[str, dict[str, Any]]:
    """Return the scores of each label; where the labels are sorted the unseen ones stand among them, else after them."""
    rows = zip([*labels, *unseen], _scores(right, predicted, gold).tolist(), gold.tolist(), predicted.tolist(), strict=True)
    found = {
        label: dict(zip(BINARY, scores, strict=True)) | {"support": support, "predicted": guessed}
        for label, scores, support, guessed in rows
    }
    return dict(sorted(found.items())) if unseen and labels == sorted(labels) else found


def number_or_none(value: float) -> float | None:
    """Return `value` as a plain float, None where it is NaN or infinite."""
    return float(value) if math.isfinite(value) else None
