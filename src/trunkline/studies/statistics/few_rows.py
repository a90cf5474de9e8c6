"""What rows that were drawn do not show: how much of what was never seen there may be all the same.

A bootstrap draws from the rows that there are. Where two methods never differ in n rows it says that they never do, though with
a share q of rows on which they do, none would be seen with probability (1 - q)^n. These are the exact binomial bounds
(Clopper and Pearson 1934); at 95 %, one-sided, q is about 3 / n (the "rule of three": Hanley and Lippman-Hand 1983).
"""

from __future__ import annotations

import numpy as np


def least_rows(level: float) -> int:
    """The fewest rows of which an interval is shown: the least and the largest of n hold the median with 1 - 2^(1 - n)."""
    return int(np.ceil(1 - np.log2(1 - level) - 1e-9))


def unseen_share(rows: int, level: float) -> float:
    """The largest share of rows that may be different where all of these are alike, two-sided (Clopper and Pearson 1934)."""
    return float(1 - ((1 - level) / 2) ** (1 / rows))


def p_of_margin(net: float, differing: float, rows: int, margin: float) -> float:
    """Return the p-value of the null hypothesis that one side is right where the other is wrong in `margin` more of all rows.

    It is the exact probability of a difference as small as `net`, or smaller, where the other side alone is right as often as
    was seen. With no row that differs, this is (1 - margin)^rows; where only one side is ever right alone, it is that of
    Clopper and Pearson; and with many rows that differ it is near that of the bootstrap. (Lloyd and Moldovan 2007, "Exact
    one-sided confidence limits for the difference between two correlated proportions", Statistics in Medicine 26(18): the
    p-value at the estimate of the nuisance parameter.)

    Args:
        net: rows that this side has right and the other wrong, less those that only the other has right.
        differing: rows that only one of them has right.
        rows: of the test.
        margin: a share above 0; from 1 on there is no such difference: 0.0.
    """
    from scipy.stats import binom  # here, as it takes most of a second to load

    if margin >= 1:
        return 0.0
    other = min(max(0.0, (differing - net) / 2 / rows), (1 - margin) / 2)
    own, most = margin + other, int(np.ceil(net - 1e-6))
    right = np.arange(rows + 1)
    rest = binom.sf(right - most - 1, rows - right, other / (1 - own))
    return min(1.0, float(binom.pmf(right, rows, own) @ rest))
