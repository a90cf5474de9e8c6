"""From which probability on a label holds, and which labels to predict where nothing is known: both the best by a metric."""

from __future__ import annotations

from typing import Any

import numpy as np

UNTUNED = 0.5
POSITIVES = 20  # rows with a label in validation, from which on it may have a threshold of its own
# Evenly spaced in logits: finer towards 0 and 1, where the thresholds of rare labels and of weighted losses lie.
CANDIDATES = np.round(1 / (1 + np.exp(-np.linspace(-6, 6, 121))), 4)


def best_threshold(true: np.ndarray, scores: np.ndarray, metric: str) -> dict[str, Any]:
    """Return the candidate that is best by `metric`, of equally good ones the nearest to UNTUNED, as `Task.tune` returns it.

    Args:
        true, scores, metric: as `threshold_quality` takes them.
    """
    quality = threshold_quality(true, scores, metric)
    nearest_first = np.argsort(np.abs(CANDIDATES - UNTUNED), kind="stable")
    best = nearest_first[quality[nearest_first].argmax()]
    return {
        "threshold": float(CANDIDATES[best]),
        "untuned_threshold": UNTUNED,
        "metric": metric,
        "tuned": float(quality[best]),
        "untuned": float(quality[nearest_first[0]]),
    }


def label_thresholds(true: np.ndarray, scores: np.ndarray, shared: float, metric: str) -> np.ndarray:
    """Return a threshold for each label, fp64 (L,), each the best candidate by `metric` where the others stay as they are.

    Labels take turns from `shared` on until none improves; of equally good candidates the nearest to `shared` is taken. A label
    with fewer than POSITIVES positive rows keeps `shared`, as its best one would be chance.

    Args:
        true: bool (rows, L).
        scores: fp32 (rows, L).
        shared: one of CANDIDATES, best for all labels together.
        metric: as of `threshold_quality`. Averages over labels are best where each label's F1 is.
    """
    passed = np.searchsorted(CANDIDATES.astype(scores.dtype), scores, side="right")  # candidates at or below each score
    begin = int(np.abs(CANDIDATES - shared).argmin())
    places = np.arange(len(CANDIDATES))
    nearest_first = np.argsort(np.abs(places - begin), kind="stable")  # candidates are evenly spaced in logits
    chosen = np.full(true.shape[1], begin)
    improved = True
    while improved:
        improved = False
        for label in np.flatnonzero(true.sum(axis=0) >= POSITIVES).tolist():
            quality = _quality_of_label(label, true, passed, chosen, metric)
            best = int(nearest_first[quality[nearest_first].argmax()])
            if quality[best] > quality[chosen[label]] + 1e-12:
                chosen[label], improved = best, True
    return CANDIDATES[chosen]


def _quality_of_label(label: int, true: np.ndarray, passed: np.ndarray, chosen: np.ndarray, metric: str) -> np.ndarray:
    """Return `metric` for each candidate of one label, (candidates,), up to what does not depend on it.

    Args:
        label: whose threshold varies.
        true: bool (rows, L).
        passed: (rows, L), how many candidates are at or below each score.
        chosen: (L,) the candidates of all labels now.
        metric: as of `threshold_quality`.
    """
    predicted = passed > chosen
    if metric == "accuracy":
        others = predicted != true
        others[:, label] = False
        rows = ~others.any(axis=1)  # whose set is right where this label is
        held, absent = (_reached(passed[rows & (true[:, label] == kind), label]) for kind in (True, False))
        return held + (rows & ~true[:, label]).sum() - absent
    right, guessed = _reached(passed[true[:, label], label]), _reached(passed[:, label])
    if metric != "f1_micro":
        return 2 * right / (guessed + true[:, label].sum())
    others = np.delete(predicted, label, axis=1)
    also_right = (others & np.delete(true, label, axis=1)).sum()
    return 2 * (also_right + right) / (others.sum() + guessed + true.sum())


def _reached(passed: np.ndarray) -> np.ndarray:
    """How many scores are at or above each candidate, (candidates,), from how many candidates each has passed."""
    counts = np.bincount(passed, minlength=len(CANDIDATES) + 1)
    return counts[::-1].cumsum()[::-1][1:]


def threshold_quality(true: np.ndarray, scores: np.ndarray, metric: str) -> np.ndarray:
    """Return what `metric` would be at each of CANDIDATES, fp64 (candidates,), all counted in one pass over the scores.

    Args:
        true: (texts, L) bool.
        scores: fp32 (texts, L).
        metric: "f1_micro", "f1_macro", "f1_weighted" or "accuracy" (of the whole set of a text).
    """
    candidates = CANDIDATES.astype(scores.dtype)  # as decode compares them
    size = len(candidates) + 1
    if metric == "accuracy":  # right from above its highest wrong label up to its lowest right one
        low = np.where(true, -np.inf, scores).max(axis=1)
        high = np.where(true, scores, np.inf).min(axis=1)
        first, last = (np.searchsorted(candidates, edge, side="right") for edge in (low, high))
        kept = first < last
        changes = np.bincount(first[kept], minlength=size) - np.bincount(last[kept], minlength=size)
        return np.cumsum(changes)[:-1] / len(true)
    passed = np.searchsorted(candidates, scores, side="right")  # how many candidates are at or below a score
    cells = passed + size * np.arange(true.shape[1])

    def at_each(chosen: np.ndarray) -> np.ndarray:
        """How many of the `chosen` cells are predicted at each candidate: (L, candidates)."""
        counts = np.bincount(chosen, minlength=size * true.shape[1]).reshape(-1, size)
        return counts[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]

    right, predicted, gold = at_each(cells[true]), at_each(cells.ravel()), true.sum(axis=0)[:, None]
    if metric == "f1_micro":
        right, predicted, gold = (counts.sum(axis=0, keepdims=True) for counts in (right, predicted, gold))
    f1 = 2 * right / np.maximum(predicted + gold, 1)  # (L, candidates), or (1, candidates)
    return np.average(f1, axis=0, weights=gold[:, 0] if metric == "f1_weighted" else None)


def best_constant(held: np.ndarray, metric: str) -> list[int]:
    """Return the numbers of the labels that score best by `metric` when they are predicted for every row.

    Args:
        held: bool (rows, L), at least one row.
        metric: "f1_micro", "f1_macro", "f1_weighted" or "accuracy" (of the whole set of a row).
    """
    if metric == "accuracy":
        sets, rows = np.unique(held, axis=0, return_counts=True)
        return np.flatnonzero(sets[rows.argmax()]).tolist()
    counts = held.sum(axis=0)
    if metric != "f1_micro":  # the F1 of a label that is never predicted is 0
        return np.flatnonzero(counts).tolist()
    # Of k labels those that most rows have are the best. F1 = 2 right / (rows k + gold), which k maximises is tried out.
    order = np.argsort(-counts, kind="stable")
    right = np.cumsum(counts[order])
    quality = 2 * right / (len(held) * np.arange(1, len(order) + 1) + max(int(right[-1]), 1))
    return sorted(order[: int(quality.argmax()) + 1].tolist())
