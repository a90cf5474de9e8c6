"""How well probabilities agree with what is right, the temperature that makes them agree, and accuracy against coverage.

Temperature scaling: Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv 1706.04599. Logits are divided by one
number, which minimises the negative log-likelihood of held-out rows. That is convex in 1 / temperature, so the minimum is found
exactly, as the root of its derivative, in fp64.

Logits are (M, C) with label numbers (M,) where one label of C is right (softmax), or (M, L) with bool (M, L) where each of L
labels is right or not (sigmoid).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

BINS = 15  # of equal width, as in the paper
COLDEST, HOTTEST = 0.05, 20.0  # temperatures; a minimum beyond them says that the rows are all right, or tell nothing
CONFIDENCES = (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)  # of an abstention curve


def fit_temperature(logits: np.ndarray, true: np.ndarray) -> float | None:
    """Return the temperature with the lowest negative log-likelihood.

    None where there is no minimum from COLDEST to HOTTEST: the right label has the highest logit in every row, or the
    logits have nothing to do with what is right.
    """
    from scipy.optimize import brentq  # here, as predicting needs none of it and it takes a second to load

    if not len(logits):
        return None
    wide = logits.astype(np.float64)
    low, high = 1 / HOTTEST, 1 / COLDEST
    if _slope(low, wide, true) >= 0 or _slope(high, wide, true) <= 0:
        return None
    return float(1 / brentq(_slope, low, high, args=(wide, true), xtol=1e-14, rtol=1e-12))


def beyond(logits: np.ndarray, true: np.ndarray) -> Literal["below", "above"] | None:
    """Return where the best temperature lies if `fit_temperature` finds none: below COLDEST or above HOTTEST.

    "below": ever sharper probabilities are better, as where the right label has the highest logit in every row. "above": ever
    flatter ones are, as where the logits have nothing to do with what is right. None: neither, or there are no rows.
    """
    if not len(logits):
        return None
    wide = logits.astype(np.float64)
    if _slope(1 / HOTTEST, wide, true) >= 0:
        return "above"
    return "below" if _slope(1 / COLDEST, wide, true) <= 0 else None


def _slope(inverse: float, logits: np.ndarray, true: np.ndarray) -> float:
    """The derivative of the mean negative log-likelihood by 1 / temperature, which never falls: expected minus right logit."""
    if true.ndim == 2:
        return float((logits * (_sigmoid(inverse * logits) - true)).mean())
    shares = np.exp(log_softmax(inverse * logits))
    return float(((shares * logits).sum(axis=1) - logits[np.arange(len(true)), true]).mean())


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return the logarithms of the probabilities, (M, C) in the dtype of `logits`."""
    moved = logits - logits.max(axis=1, keepdims=True)
    return moved - np.log(np.exp(moved).sum(axis=1, keepdims=True))


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -logits))


def negative_log_likelihood(logits: np.ndarray, true: np.ndarray, temperature: float = 1.0) -> float | None:
    """Return the mean over rows, and over labels where each is right or not, in fp64; None of no rows."""
    if not len(logits):
        return None
    scaled = logits.astype(np.float64) / temperature
    if true.ndim == 2:
        return float(np.logaddexp(0, np.where(true, -scaled, scaled)).mean())
    return float(-log_softmax(scaled)[np.arange(len(true)), true].mean())


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float | None:
    """Return the expected calibration error: the mean distance of confidence and accuracy over BINS bins, by their rows.

    Args:
        confidence: (M,) from 0 to 1.
        right: (M,) bool.
    """
    if not len(confidence):
        return None
    wide, bins = _binned(confidence)
    gaps = np.bincount(bins, weights=wide - right, minlength=BINS)
    return min(float(np.abs(gaps).sum() / len(wide)), 1.0)


class Bin(NamedTuple):
    """Answers whose confidence lies above `low` and not above `high` (of the first bin, from 0): how many `rows`, their mean
    `confidence`, and the share of them that is right (`accuracy`), both None where there are none.
    """

    low: float
    high: float
    rows: int
    confidence: float | None
    accuracy: float | None


def reliability_bins(confidence: np.ndarray, right: np.ndarray) -> list[Bin]:
    """Return what a reliability diagram shows: the BINS bins of `calibration_error`, whose arguments these are."""
    wide, bins = _binned(confidence)
    rows = np.bincount(bins, minlength=BINS)
    sums = [np.bincount(bins, weights=values, minlength=BINS) for values in (wide, np.asarray(right, np.float64))]
    found = []
    for number, count in enumerate(rows.tolist()):
        means = [float(own[number] / count) if count else None for own in sums]
        found.append(Bin(number / BINS, (number + 1) / BINS, count, *means))
    return found


def _binned(confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Confidences in fp64, and the number of the bin of each."""
    wide = np.asarray(confidence, np.float64)
    return wide, np.clip(np.ceil(wide * BINS).astype(int) - 1, 0, BINS - 1)  # a bin holds its upper edge


def confident(confidence: Any, min_confidence: float) -> np.ndarray:
    """Return whether confidences, a number or an array, are at least `min_confidence`: compared in fp32, as scores are."""
    return np.asarray(confidence, np.float32) >= np.float32(min_confidence)


def coverage_at(confidence: np.ndarray, right: np.ndarray, min_confidence: float) -> dict[str, float | None]:
    """Return `coverage`, the share of answers at least so confident, and `accuracy`, the share of these that are right.

    None stands for the share of nothing. Arguments as of `calibration_error`.
    """
    kept = confident(confidence, min_confidence)
    coverage = float(kept.mean()) if len(kept) else None
    return {"coverage": coverage, "accuracy": float(right[kept].mean()) if kept.any() else None}


def abstention_curve(confidence: np.ndarray, right: np.ndarray, at: Sequence[float] = CONFIDENCES) -> list[dict[str, Any]]:
    """Return `coverage_at` for each of some confidences, with its `min_confidence`."""
    return [{"min_confidence": level, **coverage_at(confidence, right, level)} for level in at]
