"""What may be said from few rows, or from rows that are all alike, of which a bootstrap knows nothing."""

from __future__ import annotations

import numpy as np
import pytest
from answered import errors, rights
from scipy import stats

from trunkline.studies.statistics import claims, difference, estimate, resample


def two(rows, only_first=0, only_second=0, runs=1):
    """Two methods with equally many runs that are right where the other is wrong so often, and alike elsewhere."""
    first, second = np.ones(rows, bool), np.ones(rows, bool)
    second[:only_first] = False
    first[only_first : only_first + only_second] = False
    return resample({"a": [rights(first)] * runs, "b": [rights(second)] * runs}, resamples=2_000)


@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize("margin", [0.5, 5.0])
def test_equivalence_of_methods_that_never_differ_is_that_of_a_binomial_bound(margin, runs):
    """None of n rows differs: with a share of `margin` that does, that happens with probability (1 - margin)^n."""
    least = int(np.ceil(np.log(0.05) / np.log(1 - margin / 100)))
    for rows, answer in ((6, "undecided"), (least - 1, "undecided"), (least, "equivalent")):
        [found] = claims(two(rows, runs=runs), margin)
        assert found.answer == answer
        assert found.p_equivalence == pytest.approx(stats.binomtest(0, rows, margin / 100, "less").pvalue)


def test_equivalence_of_methods_that_differ_in_few_rows_is_that_of_clopper_and_pearson():
    """One row that differs: the bootstrap, which knows no other, would need half as many rows."""
    margin, rows = 1.0, np.arange(200, 700)
    ends = stats.beta.ppf(0.95, 2, rows - 1)  # of one row of n
    least = int(rows[ends <= margin / 100][0])
    for n, answer in ((least - 10, "undecided"), (least + 10, "equivalent")):
        for sides in ((1, 0), (0, 1)):
            assert claims(two(n, *sides), margin)[0].answer == answer


def test_where_many_rows_differ_the_bootstrap_decides():
    runs = two(5_000, 40, 30)
    found = difference(runs["a"], runs["b"])
    [claim] = claims(runs, 0.6)
    assert claim.answer == "equivalent"
    assert claim.p_equivalence == pytest.approx(max(found.p_below(-0.6), found.p_above(0.6)), abs=0.01)


def test_errors_that_never_differ():
    """Of errors, what a row may differ by is not known: the largest error that there is."""
    same = [errors(np.r_[np.full(99, 0.5), 10.0])]
    assert claims(resample({"a": same, "b": same}), 0.05)[0].answer == "undecided"
    assert claims(resample({"a": same, "b": same}), 0.5)[0].answer == "equivalent"


def test_the_interval_of_a_difference_that_was_never_seen_is_that_of_clopper_and_pearson():
    runs = two(50)
    end = 100 * stats.binomtest(0, 50).proportion_ci(0.95, "exact").high
    found = difference(runs["a"], runs["b"])
    assert (found.low, found.high) == (pytest.approx(-end), pytest.approx(end))


@pytest.mark.parametrize("rows", [1, 5, 6])
def test_too_few_rows_have_no_interval_and_say_why(rows):
    """Of n rows the least and the largest hold the median with probability 1 - 2^(1 - n): 95 % from six on."""
    draw = np.random.default_rng(0)
    runs = resample({"a": [errors(draw.random(rows))], "b": [errors(draw.random(rows))]})
    found, [claim] = estimate(runs["a"]), claims(runs, 0.5)
    if rows == 6:
        assert found.low is not None and claim.low is not None and found.no_interval == ""
        return
    assert (found.low, found.high, claim.low, claim.high) == (None, None, None, None)
    assert found.no_interval == f"no interval of {rows} test row{'s' if rows > 1 else ''}, fewer than 6"


def test_a_share_of_which_all_rows_are_alike_has_the_interval_of_clopper_and_pearson():
    for right in (True, False):
        found = estimate(resample({"a": [rights(np.full(40, right))]})["a"])
        exact = stats.binomtest(40 if right else 0, 40).proportion_ci(0.95, "exact")
        assert (found.low, found.high) == (pytest.approx(exact.low), pytest.approx(exact.high))


def test_another_score_that_is_perfect_in_every_draw_has_no_interval():
    run = rights(np.ones(40, bool), "f1_macro", np.arange(40) % 2)
    found = estimate(resample({"a": [run]})["a"])
    assert found.mean == 1.0 and found.low is None and found.no_interval == "no interval, as all test rows are right"
