"""Metrics that depend on the order of rows, of many sets of rows at once.

The order is found once, and how often each set has a row is summed along it. They have the values of scikit-learn and scipy on
the rows themselves.

All take `times` (rows, R), how often each row is in each of R sets, and return (R,), NaN where a set has no value.
"""

from __future__ import annotations

import numpy as np


def average_precision(true: np.ndarray, scores: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Average precision, the mean over the labels that a set has, of `true` (rows, L) bool and `scores` (rows, L).

    Of one label: the mean over its rows of the precision among the rows that are scored as high or higher.
    """
    total, labels = np.zeros(times.shape[1]), np.zeros(times.shape[1])
    for held, score in zip(true.T, scores.T, strict=True):
        order = np.flatnonzero(held)
        if len(order) == 0:
            continue
        # rows are summed in steps that end with each score that a row of the label has, from the highest on
        ends, place = np.unique(-score[order], return_inverse=True)
        step = np.searchsorted(ends, -score)  # the first end that a row is not behind
        above = np.cumsum(_summed(times, step, len(ends) + 1)[:-1], axis=0)
        own = _summed(times[order], place, len(ends))
        right = np.cumsum(own, axis=0)
        found = right[-1]
        precision = np.divide(right, above, out=np.zeros_like(above), where=above > 0)
        total += np.divide((own * precision).sum(axis=0), found, out=np.zeros_like(found), where=found > 0)
        labels += found > 0
    return np.divide(total, labels, out=np.full(len(labels), np.nan), where=labels > 0)


def spearman(true: np.ndarray, predicted: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Spearman's correlation of (rows,) numbers: Pearson's of their ranks, equal numbers having the mean of theirs."""
    x, y = (_centred_ranks(values, times) for values in (true, predicted))
    weighted = times * x
    cross, own = (weighted * y).sum(axis=0), (weighted * x).sum(axis=0)
    other = (times * y * y).sum(axis=0)
    product = np.sqrt(own * other)
    return np.divide(cross, product, out=np.full(len(product), np.nan), where=product > 0)


def _centred_ranks(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(rows, R): the rank of each row in each set, less the mean rank."""
    known, place = np.unique(values, return_inverse=True)
    equal = _summed(times, place, len(known))
    middle = np.cumsum(equal, axis=0) - equal / 2  # rows below and half of the equal ones; the rank is half a row more
    return (middle - times.sum(axis=0) / 2)[place]


def _summed(times: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    """(groups, R): how many rows of each group a set has."""
    order = np.argsort(group, kind="stable")
    present, first = np.unique(group[order], return_index=True)
    sums = np.zeros((groups, times.shape[1]))
    sums[present] = np.add.reduceat(times[order], first, axis=0)
    return sums
