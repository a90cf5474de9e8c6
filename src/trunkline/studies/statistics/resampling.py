"""Scores on test sets drawn again, and what they say of the mean over other rows and other seeds.

Rows are drawn with replacement, as many as there are (Efron and Tibshirani 1993, chapters 6 and 13), of token tasks whole
texts, as their words and spans are no independent rows (the cluster bootstrap: Davison and Hinkley 1997, section 3.8). All runs
are scored on the same drawn rows, so that their differences are paired.

Seeds are too few to be drawn again. Plain resampling of three seeds beside the rows (the pigeonhole bootstrap: Owen 2007,
Annals of Applied Statistics 1(2)) finds a difference between equal methods in more than 10 % of the comparisons instead of 5 %,
where seeds differ more than test sets do, and in hardly any where they do not (tests/studies/statistics/test_error_rates.py).
So the parts of the variance of a mean over S runs on n rows,

    rows/n + seeds/S + both/(nS)

are taken apart as in the analysis of variance with two crossed random effects (Searle, Casella and McCulloch 1992, section
4.7):

- what the runs' scores differ by estimates seeds/S + both/(nS), with S - 1 degrees of freedom: this part is drawn from
  Student's t distribution (of two methods with different numbers of runs, with Welch's degrees of freedom);
- what the mean over runs varies by when rows are drawn is rows/n + both/(nS): this part is drawn as it is found, and shrunk by
  both/(nS), which is what the differences between runs vary by when rows are drawn.

The sum of both is what is known as the Behrens-Fisher distribution: tests by it reject too seldom rather than too often, with
three seeds in about 3 % of the comparisons of equal methods (the same file).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trunkline.errors import BadInput
from trunkline.studies.statistics.answers import Answers, check_same_rows
from trunkline.studies.statistics.counts import counted

RESAMPLES = 10_000
UNDEFINED = 0.05  # share of resamples without a value, from which on there is no interval
_BLOCK = 4_000_000  # numbers that are drawn at a time: 32 MB


@dataclass(frozen=True, eq=False)
class Resampled:
    """The scores of one method.

    Attributes:
        observed: (S,) of each run on the test rows; NaN: undefined.
        resampled: (S, R) on each of the drawn sets of rows.
        rows: how many test rows there are; of token tasks, texts.
        answers: of one of the runs: the task and its metric.
    """

    observed: np.ndarray
    resampled: np.ndarray
    rows: int
    answers: Answers

    @property
    def mean(self) -> float:
        """Over the runs."""
        return float(self.observed.mean())


def resample(methods: Mapping[str, Sequence[Answers]], *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Resampled]:
    """Return the scores of all methods on the same drawn sets of rows.

    Args:
        methods: by name, the answers of each run, one run for each seed. Methods with equally many runs are compared run by
            run, so they should be in the same order of seeds.
        resamples: how many sets of rows are drawn.
        seed: of the draws; the same gives the same sets.

    Raises:
        BadInput: runs of different test rows, or a method without a run.
    """
    runs = [(name, run) for name, own in methods.items() for run in own]
    for name, own in methods.items():
        if not own:
            raise BadInput(where=name, found="no run", expected="at least one")
    for name, run in runs[1:]:
        check_same_rows(runs[0][1], run, (runs[0][0], name))
    scored = [counted(run) for _, run in runs]
    whole = np.ones((scored[0].rows, 1))
    observed = np.concatenate([one.scores(whole) for one in scored])
    found = np.empty((len(runs), resamples))
    at = 0
    for block in draw_rows(scored[0].rows, resamples, np.random.default_rng(seed)):
        for values, one in zip(found, scored, strict=True):
            values[at : at + block.shape[1]] = one.scores(block)
        at += block.shape[1]
    ends = np.cumsum([len(own) for own in methods.values()])
    parts = zip(methods.items(), np.split(observed, ends[:-1]), np.split(found, ends[:-1]), strict=True)
    return {name: Resampled(mine, drawn, scored[0].rows, own[0]) for (name, own), mine, drawn in parts}


def draw_rows(rows: int, resamples: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield how often each row is in each drawn set, float64 (rows, some of the resamples)."""
    size = max(1, _BLOCK // rows)
    for begin in range(0, resamples, size):
        some = min(size, resamples - begin)
        drawn = rng.integers(rows, size=(some, rows)) + np.arange(some)[:, None] * rows
        yield np.ascontiguousarray(np.bincount(drawn.ravel(), minlength=some * rows).reshape(some, rows).T, float)


def means_elsewhere(sides: Sequence[Resampled], seed: int = 0) -> np.ndarray | None:
    """Return what the sum of the sides' means over runs may be on other rows and with other seeds: at most (R,) values.

    A side with one run says nothing of other seeds: what is returned is then about that run on other rows.

    Args:
        sides: scored on the same drawn rows; to subtract one, it comes negated (`negated`).
        seed: of what is drawn for the seeds.

    Returns:
        A value for each drawn set of rows, without those where a score is undefined; None where these are UNDEFINED of all or
        more, or the scores of the test rows themselves are.
    """
    defined = np.all([np.isfinite(side.resampled).all(axis=0) for side in sides], axis=0)
    if defined.mean() <= 1 - UNDEFINED or not all(np.isfinite(side.observed).all() for side in sides):
        return None
    rng = np.random.default_rng([seed, 1])  # not the numbers that drew the rows
    by_rows = np.zeros(int(defined.sum()))
    both, of_seeds, weights = 0.0, 0.0, 0.0
    for side in sides:
        scores, runs = side.resampled[:, defined], len(side.observed)
        mean = scores.mean(axis=0)
        by_rows += mean - side.mean
        if runs > 1:
            both += float((scores - mean).var(axis=1).sum()) / (runs - 1) / runs
            own = float(side.observed.var(ddof=1)) / runs
            of_seeds, weights = of_seeds + own, weights + own**2 / (runs - 1)
    variance = float(by_rows.var())
    shrink = np.sqrt(max(0.0, 1 - both / variance)) if variance > 0 else 1.0
    drawn = sum(side.mean for side in sides) + shrink * by_rows
    if weights > 0:
        drawn += np.sqrt(of_seeds) * rng.standard_t(of_seeds**2 / weights, len(drawn))
    return drawn


def negated(side: Resampled) -> Resampled:
    """Return the same with all scores negated."""
    return Resampled(-side.observed, -side.resampled, side.rows, side.answers)
