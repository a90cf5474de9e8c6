"""McNemar's test of two runs by the rows that one of them gets right and the other wrong (McNemar 1947; Dietterich 1998)."""

from __future__ import annotations

from dataclasses import dataclass

from trunkline.studies.statistics.answers import Answers, check_same_rows
from trunkline.studies.statistics.counts import right_rows


@dataclass(frozen=True)
class McNemar:
    """Two-sided tests of the null hypothesis that either run is as often right where the other is wrong.

    Attributes:
        first_only: rows that only the first run has right.
        second_only: rows that only the second has right.
        exact: p-value of the binomial test on these, which is never too small; 1.0 where there are none.
        statistic: (max(0, |first_only - second_only| - 1))² / (first_only + second_only), chi-square with continuity correction
            (Edwards 1948); 0.0 where there are none.
        chi2: its p-value with one degree of freedom, near `exact` from about 25 such rows on.
    """

    first_only: int
    second_only: int
    exact: float
    statistic: float
    chi2: float


def mcnemar(first: Answers, second: Answers) -> McNemar:
    """Return McNemar's test of the accuracies of two runs on the same rows.

    It compares two trained models, not two methods: other seeds are no part of it.

    Raises:
        BadInput: runs of other rows, or of a kind without rows that are right or wrong.
    """
    from scipy.stats import binomtest, chi2  # here, as it takes most of a second to load

    check_same_rows(first, second)
    one, other = right_rows(first), right_rows(second)
    ours, theirs = int((one & ~other).sum()), int((other & ~one).sum())
    if ours + theirs == 0:
        return McNemar(0, 0, 1.0, 0.0, 1.0)
    statistic = max(0, abs(ours - theirs) - 1) ** 2 / (ours + theirs)
    return McNemar(ours, theirs, float(binomtest(ours, ours + theirs).pvalue), statistic, float(chi2.sf(statistic, 1)))
