"""Tests of a difference against enumeration of all exchanges, scipy and the t-test, on small or simple cases."""

from __future__ import annotations

import dataclasses
from itertools import product
from math import comb

import numpy as np
import pytest
from answered import drawn_tags, errors, numbers, one_of, rights, tagged
from scipy import stats

from trunkline.errors import BadInput
from trunkline.studies.statistics import difference, mcnemar, randomisation, resample
from trunkline.tasks.metrics import token_metrics


def f1_macro(true, predicted):
    """By its definition; that of the tasks is tried in test_counts.py."""
    true, predicted = true.tolist(), predicted.tolist()
    pairs = list(zip(true, predicted, strict=True))
    occur = {*true, *predicted}
    return sum(2 * pairs.count((i, i)) / (true.count(i) + predicted.count(i)) for i in occur) / len(occur)


@pytest.mark.parametrize("seeds", [1, 3])
def test_randomisation_against_all_exchanges(seeds):
    """2^10 ways to exchange the answers to ten rows, all runs of a pair alike."""
    draw = np.random.default_rng(2)
    true = draw.integers(0, 3, 10)

    def run(right):
        return one_of(3, true, np.where(draw.random(10) < right, true, draw.integers(0, 3, 10)), "f1_macro")

    runs = [[run(right) for _ in range(seeds)] for right in (0.9, 0.5)]
    found = []
    for swap in product([False, True], repeat=10):
        pairs = [
            f1_macro(true, np.where(swap, other.predicted, one.predicted))
            - f1_macro(true, np.where(swap, one.predicted, other.predicted))
            for one, other in zip(*runs, strict=True)
        ]
        found.append(np.mean(pairs))
    exact = np.mean(np.abs(found) >= abs(found[0]) - 1e-9)
    assert 0.01 < exact < 0.5
    assert randomisation(*runs, resamples=20_000) == pytest.approx(exact, abs=4 * np.sqrt(exact / 20_000))


def test_randomisation_of_a_mean_is_scipys_permutation_test():
    draw = np.random.default_rng(1)
    one, other = draw.exponential(1, (2, 12))
    exact = stats.permutation_test((one, other), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples",
                                   vectorized=True, n_resamples=np.inf).pvalue  # fmt: skip
    assert randomisation([errors(one)], [errors(other)], resamples=20_000) == pytest.approx(
        exact, abs=4 * np.sqrt(exact / 20_000)
    )


def test_randomisation_exchanges_whole_texts():
    """Of five texts there are 32 exchanges; words exchanged one by one would break spans."""
    draw = np.random.default_rng(4)
    true, one, offsets = drawn_tags(draw, 5, 2, right=0.95)
    other = np.where(draw.random(len(true)) < 0.3, true, 0)

    def f1(tags):
        return token_metrics(true, tags, offsets, ["a", "b"])["f1"]

    found = []
    for swap in product([False, True], repeat=5):
        words = np.repeat(swap, np.diff(offsets))
        found.append(f1(np.where(words, other, one)) - f1(np.where(words, one, other)))
    exact = np.mean(np.abs(found) >= abs(found[0]) - 1e-9)
    p = randomisation([tagged(2, true, one, offsets)], [tagged(2, true, other, offsets)], resamples=20_000)
    assert p == pytest.approx(exact, abs=4 * np.sqrt(exact / 20_000))


def test_randomisation_of_correlations_of_numbers_on_other_scales():
    """Both sides are centred alike, or exchanged sums of powers would not be those of exchanged rows."""
    draw = np.random.default_rng(0)
    true = draw.normal(0, 1, 9)
    one, other = true + draw.normal(0, 0.3, 9), true + draw.normal(4, 1, 9)
    found = [
        stats.pearsonr(true, np.where(swap, other, one))[0] - stats.pearsonr(true, np.where(swap, one, other))[0]
        for swap in product([False, True], repeat=9)
    ]
    exact = np.mean(np.abs(found) >= abs(found[0]) - 1e-9)
    p = randomisation([numbers(true, one, "pearson")], [numbers(true, other, "pearson")], resamples=20_000)
    assert p == pytest.approx(exact, abs=4 * np.sqrt(exact / 20_000))


def test_difference_of_means_is_that_of_a_paired_t_test():
    """With many rows a percentile interval of a mean is the normal one."""
    draw = np.random.default_rng(0)
    one = draw.normal(10, 1, 2_000)
    other = one + draw.normal(0.04, 1, 2_000)
    runs = resample({"one": [errors(one)], "other": [errors(other)]})
    found = difference(runs["one"], runs["other"])
    theirs = stats.ttest_rel(other, one)  # the first method is better where its error is smaller
    assert found.points == pytest.approx((other - one).mean())
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval()), abs=3e-3)
    assert found.p == pytest.approx(theirs.pvalue, abs=0.01)
    for bound in (-0.02, 0.07):
        below = stats.ttest_1samp(other - one, bound, alternative="greater").pvalue
        assert (found.p_below(bound), found.p_above(bound)) == pytest.approx((below, 1 - below), abs=0.01)


def test_better_is_positive_for_scores_and_errors():
    right = np.arange(200) >= 20
    runs = resample({"a": [rights(right)], "b": [rights(np.arange(200) >= 60)]})
    found, other = difference(runs["a"], runs["b"]), difference(runs["b"], runs["a"])
    assert found.points == pytest.approx(20) and found.low > 0 and found.p < 0.01
    assert (other.points, other.low, other.high) == pytest.approx((-20, -found.high, -found.low))
    runs = resample({"a": [errors(np.full(9, 2.0))], "b": [errors(np.full(9, 3.0))]})
    assert difference(runs["a"], runs["b"]).points == 1.0  # in the units of the target


@pytest.mark.parametrize("seeds", [(1, 1), (3, 3), (4, 2), (1, 3)])
def test_the_p_value_is_below_5_percent_where_the_interval_excludes_0(seeds):
    draw = np.random.default_rng(0)
    decided = set()
    for gap in np.linspace(0, 0.2, 12):
        methods = {name: [rights(draw.random(150) < share) for _ in range(count)]
                   for name, share, count in zip("ab", (0.7 + gap, 0.7), seeds, strict=True)}  # fmt: skip
        runs = resample(methods, resamples=1_999)
        found = difference(runs["a"], runs["b"])
        if abs(found.p - 0.05) > 0.004:  # a resample to the one side or to the other
            assert (found.p < 0.05) == (found.low > 0 or found.high < 0)
            decided.add(found.p < 0.05)
    assert decided == {True, False}


def test_a_method_does_not_differ_from_itself():
    runs = resample({"a": [rights([1, 0, 1, 1] * 20)]})
    found = difference(runs["a"], runs["a"])
    assert (found.points, found.p) == (0, 1) and found.low == -found.high and found.high < 5
    assert randomisation([rights([1, 0] * 20)], [rights([1, 0] * 20)], resamples=99) == 1


def test_seeds_of_both_methods_count():
    """Runs paired by seed take out what seeds share; with another number of runs they are independent."""
    draw = np.random.default_rng(0)
    shared, rows = np.array([0.0, 3.0, 6.0, 9.0]), 20 + draw.normal(0, 0.1, 100)
    methods = {"a": [errors(rows + by) for by in shared], "b": [errors(rows + by + 1) for by in shared],
               "c": [errors(rows + by + 1) for by in shared[:3]]}  # fmt: skip
    runs = resample(methods)
    paired, apart = difference(runs["a"], runs["b"]), difference(runs["a"], runs["c"])
    assert (paired.low, paired.high) == pytest.approx((1, 1), abs=1e-6)
    welch = stats.ttest_ind(shared, shared[:3] + 1, equal_var=False)  # hardly anything by rows
    error = np.sqrt(np.var(shared, ddof=1) / 4 + np.var(shared[:3], ddof=1) / 3)
    expected = apart.points + error * stats.t.ppf([0.1, 0.5, 0.9], welch.df)
    assert np.quantile(apart.drawn, [0.1, 0.5, 0.9]) == pytest.approx(expected, abs=0.15)
    assert apart.p == pytest.approx(welch.pvalue, abs=0.03)


def test_pairs_that_cannot_be_compared_are_refused():
    one, other = rights([1, 0, 1]), rights([1, 0, 1, 1])
    with pytest.raises(BadInput, match="randomisation: found 1 and 2 runs, expected equally many"):
        randomisation([one], [one, one])
    with pytest.raises(BadInput, match="present: found the answers of different test rows"):
        randomisation([one], [other])
    runs = [resample({"a": [one]}, resamples=count)["a"] for count in (99, 199)]
    with pytest.raises(BadInput, match="difference: found 99 and 199 resamples, expected the same"):
        difference(*runs)
    with pytest.raises(BadInput, match="true: found the answers of different test rows"):
        difference(runs[0], resample({"a": [dataclasses.replace(one, true=np.ones(3, int))]}, resamples=99)["a"])


def two_runs(first_only, second_only, both=5, neither=3):
    one = np.repeat([1, 0, 1, 0], [first_only, second_only, both, neither])
    other = np.repeat([0, 1, 1, 0], [first_only, second_only, both, neither])
    return rights(one), rights(other)


@pytest.mark.parametrize(("ours", "theirs"), [(0, 0), (1, 0), (3, 3), (2, 9), (12, 3), (30, 14)])
def test_mcnemar(ours, theirs):
    """The exact p-value is a sum over the binomial distribution, the other one that of a squared standard normal number."""
    found = mcnemar(*two_runs(ours, theirs))
    count = ours + theirs
    tail = sum(comb(count, k) for k in range(min(ours, theirs) + 1)) / 2**count
    assert (found.first_only, found.second_only) == (ours, theirs)
    assert found.exact == pytest.approx(min(1, 2 * tail))
    z = max(0, abs(ours - theirs) - 1) / np.sqrt(max(count, 1))
    assert (found.statistic, found.chi2) == pytest.approx((z**2, 2 * stats.norm.sf(z)))


def test_mcnemar_is_of_rows_that_are_right_or_wrong():
    run = errors([1.0, 2.0])
    with pytest.raises(BadInput, match="kind: found regression, expected sequence or multilabel"):
        mcnemar(run, run)
