"""Metrics as functions of sums over rows: `score(sums)`, (..., C) to (...), where C counts of each row were summed.

Each has the value of trunkline.tasks.metrics on the same rows, with its conventions: a denominator of 0 gives 0.0; what is None
there (a correlation with something constant, r2 of one row) is NaN here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Score = Callable[[np.ndarray], np.ndarray]

# A variance below this share of the mean square is a constant, and what is left of it rounding.
CONSTANT = 1e-12


def _over(part: np.ndarray, whole: np.ndarray, otherwise: float = 0.0) -> np.ndarray:
    """part / whole, `otherwise` where that has no value."""
    return np.divide(part, whole, out=np.full(np.shape(whole), otherwise), where=whole > 0)


def mean(sums: np.ndarray) -> np.ndarray:
    """Of (sum, rows)."""
    return _over(sums[..., 0], sums[..., 1], np.nan)


def _ratio(name: str, right: np.ndarray, predicted: np.ndarray, gold: np.ndarray) -> np.ndarray:
    if name == "f1":
        return _over(2 * right, predicted + gold)
    return _over(right, predicted if name == "precision" else gold)


def of_counts(name: str) -> Score:
    """Precision, recall or F1 of (right, predicted, gold)."""
    return lambda sums: _ratio(name, sums[..., 0], sums[..., 1], sums[..., 2])


def averaged(name: str, weighted: bool) -> Score:
    """Macro or weighted mean of precision, recall or F1 over the labels that occur, of (L right, L predicted, L gold)."""

    def score(sums: np.ndarray) -> np.ndarray:
        right, predicted, gold = np.split(sums, 3, axis=-1)
        weights = gold if weighted else (predicted + gold > 0).astype(float)
        return _over((_ratio(name, right, predicted, gold) * weights).sum(axis=-1), weights.sum(axis=-1))

    return score


def matthews(sums: np.ndarray) -> np.ndarray:
    """Gorodkin's correlation of (L right, L predicted, L gold) (Gorodkin 2004, equation 8; of two labels, Matthews' own)."""
    right, predicted, gold = np.split(sums, 3, axis=-1)
    rows = gold.sum(axis=-1)
    cross = right.sum(axis=-1) * rows - (predicted * gold).sum(axis=-1)
    own, other = (rows**2 - (counts**2).sum(axis=-1) for counts in (predicted, gold))
    return _over(cross, np.sqrt(own * other))


def _variance(total: np.ndarray, squares: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """rows² times the variance; 0.0 for a constant, which rounding would not leave exactly 0."""
    found = rows * squares - total**2
    return np.where(found > CONSTANT * rows * squares, found, 0.0)


def pearson(sums: np.ndarray) -> np.ndarray:
    """Of (rows, x, y, x², y², xy)."""
    rows, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    return np.clip(_over(rows * xy - x * y, np.sqrt(_variance(x, xx, rows) * _variance(y, yy, rows)), np.nan), -1.0, 1.0)


def r2(sums: np.ndarray) -> np.ndarray:
    """Of (rows, true, true², squared error); as scikit-learn has it, 1.0 or 0.0 where `true` is a constant."""
    rows, true, squares, errors = np.moveaxis(sums, -1, 0)
    variance = _variance(true, squares, rows)
    found = np.where(variance > 0, 1.0 - _over(rows * errors, variance), (errors == 0).astype(float))
    return np.where(rows > 1, found, np.nan)
