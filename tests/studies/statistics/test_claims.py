"""Claims: the four answers, Holm's correction against closed testing, and effect sizes."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from answered import errors, numbers, rights
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from trunkline.errors import BadInput
from trunkline.studies.statistics import claims, claims_together, difference, holm, resample, resamples_for
from trunkline.studies.statistics.claims import cohens_h


def closed_testing(p_values):
    """Holm's procedure as what it shortens: a hypothesis is rejected if Bonferroni's test rejects every set that it is in."""
    places = range(len(p_values))
    sets = [chosen for size in range(1, len(p_values) + 1) for chosen in combinations(places, size)]
    return [max(min(1.0, len(s) * min(p_values[i] for i in s)) for s in sets if at in s) for at in places]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.01, 0.02, 1.0])), min_size=1, max_size=6))
def test_holm_is_closed_testing(p_values):
    assert holm(p_values) == pytest.approx(closed_testing(p_values))


def test_holm_refuses_what_is_no_probability():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06]) and len(holm([])) == 0
    for wrong in (1.5, -0.1, np.nan):
        with pytest.raises(BadInput, match="p_values: found a value that is no probability"):
            holm([0.5, wrong])


def means(gaps, rows=1_000):
    """Methods "0", "1", ... whose mean errors are smaller than that of "base" by these gaps, with noise in each row."""
    draw = np.random.default_rng(0)
    base = 50 + draw.normal(0, 3, rows)
    methods = {"base": [errors(base)]}
    for number, gap in enumerate(gaps):
        noise = draw.normal(0, 1, rows)
        methods[str(number)] = [errors(base - gap - noise + noise.mean())]
    return resample(methods, resamples=4_000)


def against_base(runs):
    return [(name, "base") for name in runs if name != "base"]


def test_the_four_answers():
    """The standard error is 1 / √1,000 = .032, so an interval of 95 % reaches .062 to both sides and one of 90 % .052."""
    runs = means([0.5, -0.5, 0.0, 0.05, 0.25, 0.1])
    alone = [claims(runs, 0.2, pairs=[pair])[0] for pair in against_base(runs)]
    assert [one.answer for one in alone] == ["better", "worse", "equivalent", "equivalent", "better", "equivalent"]
    # the difference .1 is certain, but smaller than what matters; with a margin of 0 or of .06 it is just a difference
    assert alone[5].low > 0 and alone[5].p_difference < 0.01 and alone[5].p_equivalence < 0.01
    for margin in (0, 0.06):
        assert claims(runs, margin, pairs=[("5", "base")])[0].answer == "better"
    # neither different from 0 nor certainly smaller than the margin
    assert claims(runs, 0.04, pairs=[("2", "base")])[0].answer == "undecided"
    assert claims(runs, 0.0, pairs=[("2", "base")])[0].answer == "undecided"


@pytest.mark.parametrize("rows", range(1, 9))
def test_few_rows_show_no_more_than_a_sign_test_of_them(rows):
    """Rows drawn again from a few that are all alike are alike: the bootstrap alone would call one row certain."""
    runs = resample({"all": [rights(np.ones(rows, bool))], "none": [rights(np.zeros(rows, bool))]})
    exact = stats.binomtest(rows, rows).pvalue
    found = difference(runs["all"], runs["none"])
    assert found.p == pytest.approx(exact, rel=1e-3)
    claim, same = claims(runs, 0.5, pairs=[("all", "none"), ("all", "all")])
    assert (claim.answer == "better") == (2 * exact <= 0.05) and (claim.answer, same.answer) != ("worse", "better")
    assert same.answer != "equivalent" or rows > 5


def test_equivalence_is_the_interval_of_90_percent_within_the_margin():
    runs = means([0.1])
    found = difference(runs["0"], runs["base"])
    end = np.quantile(found.drawn, 0.95)
    answers = [claims(runs, margin, pairs=[("0", "base")])[0].answer for margin in (end - 1e-3, end + 1e-3)]
    assert answers == ["better", "equivalent"]


def test_all_claims_are_corrected_together():
    """One difference that is found alone (p about .03) is not one of ten."""
    gaps = [0.068] + [0.0] * 9
    runs = means(gaps)
    alone, together = claims(runs, 0, pairs=[("0", "base")])[0], claims(runs, 0, pairs=against_base(runs))
    assert alone.answer == "better" and alone.p_difference < 0.05
    assert together[0].answer == "undecided" and together[0].p_difference == pytest.approx(min(1, 10 * alone.p_difference))
    assert [one.p_difference for one in together] == pytest.approx(holm([claims(runs, 0, pairs=[pair])[0].p_difference
                                                                         for pair in against_base(runs)]).tolist())  # fmt: skip
    alone, together = claims(runs, 0.055, pairs=[("4", "base")])[0], claims(runs, 0.055, pairs=against_base(runs)[1:])
    assert alone.answer == "equivalent" and together[3].answer == "undecided"
    assert together[3].p_equivalence > alone.p_equivalence


def test_every_two_methods_are_compared_by_default():
    runs = means([0.5, 1.0])
    found = claims(runs, 0.1)
    assert [(one.first, one.second, one.answer) for one in found] == [
        ("base", "0", "worse"), ("base", "1", "worse"), ("0", "1", "worse")
    ]  # fmt: skip
    assert found[0].points == pytest.approx(-0.5) and found[0].low < -0.5 < found[0].high


def test_effect_sizes():
    """Cohen 1988, table 6.2.2, for shares; for means his d of paired differences."""
    assert cohens_h(0.25, 0.05) == pytest.approx(1.05 - 0.45, abs=6e-3) and cohens_h(0.5, 0.4) == pytest.approx(0.2, abs=5e-3)
    right = np.arange(400) < 300
    runs = resample({"a": [rights(right)], "b": [rights(np.arange(400) < 20)]})
    [found] = claims(runs, 0.5)
    assert (found.effect_name, found.effect) == ("h", pytest.approx(cohens_h(0.75, 0.05)))
    draw = np.random.default_rng(0)
    one, other = 10 + draw.normal(0, 1, (2, 500))
    [found] = claims(resample({"a": [errors(one)], "b": [errors(other)]}), 0.5)
    assert (found.effect_name, found.effect) == ("d_z", pytest.approx((other - one).mean() / (other - one).std(), rel=0.03))


def test_a_metric_without_a_value_decides_nothing():
    true = np.arange(8.0)
    runs = resample({"a": [numbers(true, np.zeros(8), "pearson")], "b": [numbers(true, true, "pearson")]})
    [found] = claims(runs, 5)
    assert found.answer == "undecided" and found.points is None and found.p_difference is None and found.effect is None


def test_claims_that_cannot_be_made_are_refused():
    runs = means([0.5])
    with pytest.raises(BadInput, match=r"^margin: found -1, expected points from 0 on"):
        claims(runs, -1)
    with pytest.raises(BadInput, match=r"^pairs: unknown name 'bas'; did you mean 'base'?"):
        claims(runs, 1, pairs=[("0", "bas")])
    with pytest.raises(BadInput, match=r"^claims: found 4,000 resamples for 51 claims, expected 4,080 or more"):
        claims(runs, 1, pairs=[("0", "base")] * 51)
    assert len(claims(runs, 1, pairs=[("0", "base")] * 50)) == 50
    assert (resamples_for(3), resamples_for(190)) == (10_000, 15_200)


def test_the_smallest_p_value_that_can_be_found_is_small_enough():
    """With as many resamples as are asked for, a difference beyond doubt is one after Holm's correction of all claims."""
    count = 40
    runs = resample({"a": [errors(np.full(30, 1.0))], "b": [errors(np.full(30, 2.0))]}, resamples=4 * count * 20)
    assert all(one.answer == "better" for one in claims(runs, 0.5, pairs=[("a", "b")] * count))


def test_seeds_decide():
    """A method that is better with each of its seeds, but not by more than they differ, is not called better."""
    draw = np.random.default_rng(0)
    base = 50 + draw.normal(0, 1, 500)
    steady = {"a": [errors(base - 0.5 + by) for by in (-0.01, 0.0, 0.01)], "b": [errors(base)] * 3}
    varied = {"a": [errors(base - 0.5 + by) for by in (-0.45, 0.0, 0.45)], "b": [errors(base)] * 3}
    assert [claims(resample(runs), 0.1)[0].answer for runs in (steady, varied)] == ["better", "undecided"]
    t = stats.ttest_1samp([0.05, 0.5, 0.95], 0).pvalue
    assert claims(resample(varied), 0.1)[0].p_difference == pytest.approx(t, abs=0.02)


def test_claims_of_several_tables_are_corrected_as_one():
    """A claim of each of two tasks is as uncertain as two of one task; each table has its own claims again."""
    first, second = means([0.5, 0.06]), means([0.07])
    together = claims_together([(first, [("0", "base"), ("1", "base")]), (second, None)], 0.1)
    assert [[(one.first, one.second) for one in table] for table in together] == [
        [("0", "base"), ("1", "base")],
        [("base", "0")],
    ]
    alone = [claims(first, 0.1, pairs=[(name, "base")])[0].p_difference for name in "01"] + [
        claims(second, 0.1)[0].p_difference
    ]
    assert [one.p_difference for table in together for one in table] == pytest.approx(holm(alone).tolist())
