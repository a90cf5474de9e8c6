"""How good a method is: its mean over seeds, their spread, and a bootstrap interval.

The interval is the percentile interval (Efron and Tibshirani 1993, chapter 13) of the mean over runs on other test rows and
with other seeds, as resampling.py draws it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trunkline.errors import BadInput
from trunkline.studies.statistics.few_rows import least_rows, unseen_share
from trunkline.studies.statistics.resampling import Resampled, means_elsewhere

LEVEL = 0.95
EQUAL = 1e-12  # scores that are equal but for rounding


@dataclass(frozen=True)
class Estimate:
    """How good a method is, in the metric's own units (shares are within 0 and 1).

    Attributes:
        mean: over its runs; None where the metric is undefined for one of them.
        spread: standard deviation of the runs' scores (with S - 1); None of one run.
        low, high: of the interval; None where there is none.
        level: of the interval.
        runs: how many.
        rows: how many test rows; of token tasks, texts.
        no_interval: why there is none, in words: too few rows, all rows right, or more than a few of the drawn sets of rows
            had no value.
    """

    mean: float | None
    spread: float | None
    low: float | None
    high: float | None
    level: float
    runs: int
    rows: int
    no_interval: str = ""

    @property
    def covers(self) -> str:
        """What the interval is about, in words."""
        if self.runs == 1:
            return "this run on other test rows"
        return "the mean over other test rows and other seeds"


def estimate(resampled: Resampled, *, level: float = LEVEL) -> Estimate:
    """Return mean, spread and interval of a method.

    With one run, `level` of such intervals contain the score that this run would have on all texts that the test rows were
    drawn from. With several, they contain the mean that the method has on all of them over all seeds; what else
    varies, such as the training data or the way they were split, is covered as far as the runs' seeds draw it.

    Args:
        resampled: the scores of its runs.
        level: between 0 and 1.
    """
    check_level(level)
    runs, drawn = len(resampled.observed), means_elsewhere([resampled])
    spread = float(resampled.observed.std(ddof=1)) if runs > 1 else np.nan
    low, high, why = _interval(resampled, drawn, level)
    return Estimate(_or_none(resampled.mean), _or_none(spread), low, high, level, runs, resampled.rows, why)


def _interval(resampled: Resampled, drawn: np.ndarray | None, level: float) -> tuple[float | None, float | None, str]:
    """The ends of an interval, or why there is none."""
    answers, rows, mean = resampled.answers, resampled.rows, resampled.mean
    if drawn is None:
        return None, None, f"no interval, as {answers.metric} has no value for some of the rows drawn again"
    if rows < (least := least_rows(level)):
        return None, None, f"no interval of {rows} test row{'s' if rows > 1 else ''}, fewer than {least}"
    best = answers.range[1 if answers.greater_is_better else 0]
    if np.ptp(drawn) <= EQUAL:  # nothing is known of rows that were not seen
        if answers.proportion and mean in answers.range:
            share = unseen_share(rows, level)
            return (1 - share, 1.0, "") if mean == 1 else (0.0, share, "")
        if mean == best:
            return None, None, "no interval, as all test rows are right"
    return *percentiles(drawn, level, answers.range), ""


def percentiles(drawn: np.ndarray, level: float, limits: tuple[float, float] = (-np.inf, np.inf)) -> tuple[float, float]:
    """Return the ends between which the middle `level` of what was drawn is, cut to what is possible."""
    low, high = np.clip(np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2]), *limits)
    return float(low), float(high)


def check_level(level: float) -> None:
    """Raise BadInput for what is no level of an interval."""
    if not 0.5 <= level < 1:
        raise BadInput(key="level", found=f"{level:g}", expected="a share from 0.5 to below 1, such as 0.95")


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
