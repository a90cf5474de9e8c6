"""Rows dealt to folds for cross-validation: equal texts into one fold, and a share of every label into each."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np


def deal_folds(keys: Sequence[Hashable], strata: Sequence[Hashable] | None, folds: int, seed: int) -> np.ndarray:
    """The fold of each row, int (rows,), 0 to `folds` - 1.

    Texts are dealt in an order drawn by the seed, those of one stratum after those of another, to the folds in turn: so the
    numbers of texts differ by one at most between folds, of a stratum too.

    Args:
        keys: one for each row; rows of equal keys are one text, and fall into one fold.
        strata: one for each row; the first row of a text decides. None: all are one.
        folds: at least 1.
        seed: of the order.
    """
    numbers: dict[Hashable, int] = {}
    text_of = np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
    _, first = np.unique(text_of, return_index=True)
    known: dict[Hashable, int] = {}
    stratum = np.array([known.setdefault(strata[row] if strata is not None else None, len(known)) for row in first], np.int64)
    drawn = np.random.default_rng(seed).permutation(len(first))
    order = drawn[np.argsort(stratum[drawn], kind="stable")]
    fold = np.empty(len(first), np.int64)
    fold[order] = np.arange(len(first)) % folds
    return fold[text_of]
