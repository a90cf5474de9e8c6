"""Which methods no other is better than at no higher price: the Pareto front of quality against costs."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from trunkline.errors import BadInput


def pareto_front(quality: ArrayLike, costs: ArrayLike, *, greater_is_better: bool = True) -> np.ndarray:
    """Return (M,) bool: which methods are on the front.

    A method is dominated, and so not on the front, if another is at least as good and costs no more in any respect, and is
    better or cheaper in one. Methods that are equal in everything do not dominate each other: either all are on the front or
    none. Only the numbers count here, not whether a difference in quality is real.

    Args:
        quality: (M,) a score of each method.
        costs: (M,) or (M, C), the lower the better: trained parameters, seconds, bytes.
        greater_is_better: whether a larger `quality` is a better one.

    Raises:
        BadInput: different numbers of methods, or a number that is not known (NaN): such a method cannot be placed.
    """
    good, price = np.asarray(quality, float), np.asarray(costs, float)
    price = price[:, None] if price.ndim == 1 else price
    if len(good) != len(price):
        raise BadInput(
            where="pareto_front", found=f"{len(good)} qualities and {len(price)} costs", expected="one each of every method"
        )
    if np.isnan(good).any() or np.isnan(price).any():
        raise BadInput(where="pareto_front", found="a method with an unknown quality or cost", expected="numbers alone")
    table = np.column_stack([-good if greater_is_better else good, price])
    no_worse = (table[:, None] <= table[None]).all(axis=2)
    better = (table[:, None] < table[None]).any(axis=2)
    return ~np.any(no_worse & better, axis=0)
