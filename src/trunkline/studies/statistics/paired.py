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
from trunkline.studies.statistics.bootstrap import EQUAL, LEVEL, check_level, percentiles
from trunkline.studies.statistics.counts import counted
from trunkline.studies.statistics.few_rows import least_rows, p_of_margin, unseen_share
from trunkline.studies.statistics.resampling import RESAMPLES, Resampled, means_elsewhere, negated

_BLOCK = 4_000_000  # numbers that are drawn at a time: 32 MB


@dataclass(frozen=True, eq=False)
class Difference:
    """How much better the first of two methods is, in points (of mse and mae in units of the target): negative if it is worse.

    Attributes:
        points: the difference of their means over runs.
        low, high: its interval of `level`; None of fewer rows than `least_rows`.
        drawn: what the difference may be on other rows and with other seeds, sorted.
        rows_error: its standard error over rows alone.
        rows: how many test rows; of token tasks, texts.
        whole: by how much two methods differ whose answers to every row do: 100 points; of mse and mae, the largest error.
        by_answers: whether a row counts as right or wrong, or in part; not where the metric is of numbers.
    """

    points: float
    low: float | None
    high: float | None
    level: float
    drawn: np.ndarray
    rows_error: float
    rows: int
    whole: float
    by_answers: bool

    def p_below(self, bound: float) -> float:
        """One-sided p-value of the null hypothesis that the difference is `bound` or less; small: it is more."""
        return self._p(int(np.searchsorted(self.drawn, bound + EQUAL, side="right")))

    def p_above(self, bound: float) -> float:
        """One-sided p-value of the null hypothesis that the difference is `bound` or more; small: it is less."""
        return self._p(len(self.drawn) - int(np.searchsorted(self.drawn, bound - EQUAL, side="left")))

    def _p(self, beyond: int) -> float:
        """(b + 1) / (R + 1), which is never 0 (Davison and Hinkley 1997, equation 4.11); nor less than n rows can show.

        Where nothing makes a difference, all n rows are on the same side with probability 1 / 2^n (the sign test). Rows drawn
        again from so few that are all alike are alike, too, so the bootstrap would call one row certain.
        """
        return max((beyond + 1) / (len(self.drawn) + 1), 0.5**self.rows)

    def p_equivalence(self, margin: float) -> float:
        """p-value of the null hypothesis that the difference is `margin` or more, whichever is ahead; small: it is less.

        The larger of two one-sided p-values of the bootstrap, and no smaller than is possible where few rows differ
        (`p_of_margin`; of metrics of numbers, where none does). Scores that are no shares of rows count as such, with as many
        rows that differ as have their standard error.
        """
        found = max(self.p_below(-margin), self.p_above(margin))
        if margin <= 0 or self.whole <= 0 or (self.rows_error and not self.by_answers):
            return found
        net = self.points / self.whole * self.rows
        differing = (self.rows_error / self.whole * self.rows) ** 2 + net**2 / self.rows
        return max(found, *(p_of_margin(side, differing, self.rows, margin / self.whole) for side in (net, -net)))

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
    points, rows, whole = scale * (first.mean - second.mean), first.rows, scale * first.answers.largest
    least, most = first.answers.range
    low: float | None = None
    high: float | None = None
    by_answers = first.answers.kind != "regression" and first.answers.metric != "average_precision"
    if rows >= least_rows(level):
        alike = np.ptp(drawn) <= EQUAL and (by_answers or points == 0)
        more = (whole + abs(points)) * unseen_share(rows, level) if alike else 0.0
        limits = (scale * (least - most), scale * (most - least))
        low, high = percentiles(np.concatenate([drawn - more, drawn + more]) if more else drawn, level, limits)
    return Difference(points, low, high, level, drawn, float(np.nanstd(by_rows)), rows, whole, by_answers)


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
        as_large += int((np.abs(np.mean(exchanged, axis=0)) >= observed - EQUAL).sum())
    return (as_large + 1) / (resamples + 1)
