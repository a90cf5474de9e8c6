"""Holm's step-down correction (Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure")."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from trunkline.errors import BadInput


def holm(p_values: ArrayLike) -> np.ndarray:
    """Return adjusted p-values (K,), in the order given: the i-th smallest times K - i + 1, at least those of smaller ones, at
    most 1.

    If every null hypothesis whose adjusted p-value is at most alpha is rejected, the probability of rejecting any true one is
    at most alpha, however the tests depend on each other.

    Raises:
        BadInput: a value that is no probability.
    """
    given = np.asarray(p_values, float)
    if not ((given >= 0) & (given <= 1)).all():
        raise BadInput(key="p_values", found="a value that is no probability", expected="numbers from 0 to 1")
    order = np.argsort(given)
    adjusted = np.empty(len(given))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(given[order] * np.arange(len(given), 0, -1)))
    return adjusted
