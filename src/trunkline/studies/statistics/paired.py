"""Whether two methods differ on the same test rows: paired bootstrap, and approximate randomisation.

Both are the usual tests of NLP for metrics without a formula for their variance (Riezler and Maxwell 2005; Berg-Kirkpatrick,
Burkett and Klein 2012; Dror et al. 2018, "The Hitchhiker's Guide to Testing Statistical Significance in NLP").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trunkline.errors import BadInput
from trunkline.studies.statistics.answers import Answers, check_same_rows
from trunkline.studies.statistics.bootstrap import LEVEL, check_level, percentiles
from trunkline.studies.statistics.counts import counted
from trunkline.studies.statistics.resampling import RESAMPLES, Resampled, means_elsewhere, negated

_BLOCK = 4_000_000  # numbers that are drawn at a time: 32 MB
_EQUAL = 1e-12  # differences that are equal but for rounding


@dataclass(frozen=True, eq=False)
class Difference:
    """How much better the first of two methods is, in points (of mse and mae in units of the target): negative if it is worse.

    Attributes:
        points: the difference of their means over runs.
        low, high: its interval of `level`.
        drawn: what the difference may be on other rows and with other seeds, sorted.
        rows_error: its standard error over rows alone.
        rows: how many test rows; of token tasks, texts.
    """

    points: float
    low: float
    high: float
    level: float
    drawn: np.ndarray
    rows_error: float
    rows: int

    def p_below(self, bound: float) -> float:
        """One-sided p-value of the null hypothesis that the difference is `bound` or less; small: it is more."""
        return self._p(int(np.searchsorted(self.drawn, bound + _EQUAL, side="right")))

    def p_above(self, bound: float) -> float:
        """One-sided p-value of the null hypothesis that the difference is `bound` or more; small: it is less."""
        return self._p(len(self.drawn) - int(np.searchsorted(self.drawn, bound - _EQUAL, side="left")))

    def _p(self, beyond: int) -> float:
        """(b + 1) / (R + 1), which is never 0 (Davison and Hinkley 1997, equation 4.11); nor less than n rows can show.

        Where nothing makes a difference, all n rows are on the same side with probability 1 / 2^n (the sign test). Rows drawn
        again from so few that are all alike are alike, too, so the bootstrap would call one row certain.
        """
        return max((beyond + 1) / (len(self.drawn) + 1), 0.5**self.rows)

    @property
    def p(self) -> float:
        """Two-sided p-value of the null hypothesis of no difference: below 1 - level where the interval excludes 0."""
        return min(1.0, 2 * min(self.p_below(0.0), self.p_above(0.0)))


def difference(first: Resampled, second: Resampled, *, level: float = LEVEL) -> Difference | None:
    """Return the paired bootstrap difference of two methods; None where the metric is undefined for too many drawn rows.

    The rows are the same on both sides in every resample. Methods with equally many runs are paired run by run, which takes out
    what their seeds share, such as the training rows that a seed draws; others are taken as independent. The interval covers
    other test rows and, of a method with several runs, other seeds: of two methods with one run each, it compares these two
    trained models. The p-value is that of the percentile interval (Efron and Tibshirani 1993, section 15.4): the level at which
    the interval would just touch 0.

    Raises:
        BadInput: the two were not resampled together.
    """
    check_level(level)
    check_same_rows(first.answers, second.answers)
    if first.resampled.shape[1] != second.resampled.shape[1]:
        found = f"{first.resampled.shape[1]} and {second.resampled.shape[1]} resamples"
        raise BadInput(where="difference", found=found, expected="the same, drawn together")
    if not first.answers.greater_is_better:
        first, second = second, first
    if len(first.observed) == len(second.observed):
        paired = (first.observed - second.observed, first.resampled - second.resampled)
        sides = [Resampled(*paired, first.rows, first.answers)]
    else:
        sides = [first, negated(second)]
    drawn = means_elsewhere(sides)
    if drawn is None:
        return None
    scale = first.answers.points
    drawn = scale * np.sort(drawn)
    by_rows = scale * (first.resampled.mean(axis=0) - second.resampled.mean(axis=0))
    least, most = first.answers.range
    low, high = percentiles(drawn, level, (scale * (least - most), scale * (most - least)))
    return Difference(scale * (first.mean - second.mean), low, high, level, drawn, float(np.nanstd(by_rows)), first.rows)


def randomisation(first: Sequence[Answers], second: Sequence[Answers], *, resamples: int = RESAMPLES, seed: int = 0) -> float:
    """Return the two-sided p-value of approximate randomisation between two methods with equally many runs.

    In each resample, a coin for every row (of token tasks, for every text) decides whether the two methods exchange their
    answers to it, all runs of a pair alike; p = (b + 1) / (R + 1), where b resamples have a difference of mean scores as large
    as the observed one, of either sign (Noreen 1989, chapter 2; Riezler and Maxwell 2005, figure 1).

    The null hypothesis is that row by row it makes no difference which of the two sets of trained models answers. Other seeds
    are no part of it: where seeds differ more than test sets do, it is rejected for two methods that are equally good on
    average. Use `difference` for claims about methods.

    Args:
        first, second: of each run, in the same order of seeds, the answers to the same rows.
        resamples: how often the answers are exchanged.
        seed: of the coins.

    Raises:
        BadInput: runs of other rows, or not equally many.
    """
    if len(first) != len(second) or not first:
        raise BadInput(
            where="randomisation", found=f"{len(first)} and {len(second)} runs", expected="equally many, at least one"
        )
    pairs = []
    for one, other in zip(first, second, strict=True):
        check_same_rows(first[0], one)
        check_same_rows(first[0], other)
        centre = None
        if one.kind == "regression":
            centre = float(np.mean([answers.predicted[answers.present] for answers in (one, other)]))
        pairs.append((counted(one, centre), counted(other, centre)))
    rows, rng = pairs[0][0].rows, np.random.default_rng(seed)
    whole = np.ones((rows, 1))
    observed = abs(np.mean([one.scores(whole)[0] - other.scores(whole)[0] for one, other in pairs]))
    size, as_large = max(1, _BLOCK // rows), 0
    for begin in range(0, resamples, size):
        swap = rng.integers(2, size=(rows, min(size, resamples - begin))).astype(float)
        exchanged = [np.subtract(*one.swapped(other, swap)) for one, other in pairs]
        as_large += int((np.abs(np.mean(exchanged, axis=0)) >= observed - _EQUAL).sum())
    return (as_large + 1) / (resamples + 1)
