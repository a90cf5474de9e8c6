"""What may be said of two methods: better, worse, equivalent or undecided.

Of the difference d of two methods in points, and a margin m of what is too little to matter, two null hypotheses are tested:

- there is no difference, d = 0, two-sided, by the paired bootstrap (`Difference.p`);
- there is one that matters, |d| >= m, by two one-sided tests (TOST: Schuirmann 1987), each by the same bootstrap: p is the
  larger of the p-values of d <= -m and of d >= m. At 5 % this asks whether the interval of 90 % lies within -m and m. Where
  few rows differ, of which the bootstrap knows too little, it is that of an exact binomial bound (few_rows.py).

Both p-values are corrected by Holm over all claims that are made together, each kind for itself. With alpha = 1 - level:

- **equivalent**: the second null hypothesis is rejected (its corrected p <= alpha): whichever is ahead, it is by less than the
  margin, also where a difference is certain;
- **better** or **worse**: not so, but the first is rejected: there is a difference, in this direction, and it may matter;
- **undecided**: neither. More test rows or more seeds would decide.

These are the outcomes of testing difference and equivalence together (Tryon 2001; Lakens 2017, figure 1), where "different and
equivalent" is put with "equivalent", as the margin says that it does not matter. So the probability that any method is called
better or worse that is as good as the other is at most alpha over all claims, and so is the probability that any is called
equivalent that is better or worse by the margin or more.

The effect size is the difference itself, which is what the field reports, and a number that does not depend on the scale:
Cohen's h for shares of right rows (Cohen 1988, section 6.2: 2 asin √p - 2 asin √q; .2 is small, .5 medium, .8 large), as a
point matters more at 98 % than at 60 %; for all other metrics d_z (Cohen 1988, section 2.3.5), the difference divided by the
standard deviation of a row's part in it, which is √rows times the standard error over rows; this is exact for means such as
mse, and its first-order equivalent for F1 and others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from trunkline.errors import BadInput, unknown_name
from trunkline.studies.statistics.bootstrap import LEVEL
from trunkline.studies.statistics.holm import holm
from trunkline.studies.statistics.paired import Difference, difference
from trunkline.studies.statistics.resampling import RESAMPLES, Resampled

Answer = Literal["better", "worse", "equivalent", "undecided"]


@dataclass(frozen=True)
class Claim:
    """What is said of `first` compared with `second`.

    Attributes:
        answer: what `first` is.
        points: by how many points it is better (of mse and mae in units of the target); negative: worse.
        low, high: the interval of that, of the level asked for, not corrected; None of too few rows.
        p_difference, p_equivalence: corrected by Holm over all claims.
        effect: None where it has no value.
        effect_name: "h" or "d_z".

    All numbers are None where the metric is undefined; the answer is "undecided" then.
    """

    first: str
    second: str
    answer: Answer
    points: float | None
    low: float | None
    high: float | None
    p_difference: float | None
    p_equivalence: float | None
    effect: float | None
    effect_name: Literal["h", "d_z"]


def claims(
    methods: Mapping[str, Resampled],
    margin: float,
    *,
    pairs: Sequence[tuple[str, str]] | None = None,
    level: float = LEVEL,
) -> list[Claim]:
    """Return a claim for each pair of methods, all corrected together.

    Args:
        methods: what `resample` returned, all of one call.
        margin: the points (of mse and mae, the units of the target) from which on a difference matters; with 0 nothing is
            equivalent.
        pairs: (first, second) by name; every two methods by default.
        level: 1 - alpha.

    Raises:
        BadInput: a margin below 0, an unknown method, or too few resamples for so many claims (`resamples_for`).
    """
    return claims_together([(methods, pairs)], margin, level=level)[0]


def claims_together(
    tables: Sequence[tuple[Mapping[str, Resampled], Sequence[tuple[str, str]] | None]], margin: float, *, level: float = LEVEL
) -> list[list[Claim]]:
    """Return the claims of several tables, such as those of several tasks, all of them corrected together.

    Args:
        tables: of each, methods and pairs as of `claims`.
        margin, level: as of `claims`.

    Raises:
        BadInput: as `claims`.
    """
    if not (np.isfinite(margin) and margin >= 0):
        raise BadInput(key="margin", found=f"{margin:g}", expected="points from 0 on")
    asked: list[tuple[Mapping[str, Resampled], tuple[str, str]]] = []
    for methods, pairs in tables:
        chosen = list(combinations(methods, 2)) if pairs is None else list(pairs)
        for name in (name for pair in chosen for name in pair):
            if name not in methods:
                raise unknown_name("", name, methods, key="pairs")
        asked += [(methods, pair) for pair in chosen]
    drawn = min((one.resampled.shape[1] for methods, _ in tables for one in methods.values()), default=0)
    if asked and drawn < (least := _least(len(asked), level)):
        raise BadInput(where="claims", found=f"{drawn:,} resamples for {len(asked):,} claims", expected=f"{least:,} or more")
    found = [difference(methods[first], methods[second], level=level) for methods, (first, second) in asked]
    # an undefined difference is a claim too: it counts as one that shows nothing
    different = holm([1.0 if one is None else one.p for one in found])
    equivalent = holm([1.0 if one is None else one.p_equivalence(margin) for one in found])
    made = iter(
        [
            _claim(methods, pair, one, (p, q), margin, 1 - level)
            for (methods, pair), one, p, q in zip(asked, found, different.tolist(), equivalent.tolist(), strict=True)
        ]
    )
    return [[next(made) for _ in (list(combinations(methods, 2)) if pairs is None else pairs)] for methods, pairs in tables]


def resamples_for(count: int, level: float = LEVEL) -> int:
    """Return how many resamples `claims` needs for this many claims: p-values cannot be below 2 / (resamples + 1)."""
    return max(RESAMPLES, _least(count, level))


def _least(count: int, level: float) -> int:
    return int(np.ceil(4 * count / (1 - level) - 1e-6))  # the smallest corrected p is half of alpha at most


def _claim(
    methods: Mapping[str, Resampled],
    pair: tuple[str, str],
    found: Difference | None,
    p_values: tuple[float, float],
    margin: float,
    alpha: float,
) -> Claim:
    first, second = (methods[name] for name in pair)
    proportion = first.answers.proportion
    name: Literal["h", "d_z"] = "h" if proportion else "d_z"
    if found is None:
        return Claim(*pair, "undecided", None, None, None, None, None, None, name)
    different, equivalent = p_values
    answer: Answer = "undecided"
    if margin > 0 and equivalent <= alpha:
        answer = "equivalent"
    elif different <= alpha:
        answer = "better" if found.p_below(0.0) < found.p_above(0.0) else "worse"
    effect = cohens_h(first.mean, second.mean) if proportion else _d_z(found, first.rows)
    return Claim(*pair, answer, found.points, found.low, found.high, different, equivalent, effect, name)


def cohens_h(first: float, second: float) -> float:
    """Return Cohen's h of two proportions: the difference of 2 asin √p, which has the same variance everywhere."""
    return float(2 * np.arcsin(np.sqrt(first)) - 2 * np.arcsin(np.sqrt(second)))


def _d_z(found: Difference, rows: int) -> float | None:
    if found.rows_error == 0:
        return 0.0 if found.points == 0 else None
    return float(found.points / (found.rows_error * np.sqrt(rows)))
