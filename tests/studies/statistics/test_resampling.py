"""Drawn test sets against all there are, scipy's bootstrap, and the analysis of variance of rows and seeds."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from answered import drawn_tags, errors, numbers, one_of, rights, tagged
from scipy import stats

from trunkline.errors import BadInput
from trunkline.studies.statistics import difference, estimate, learning_curve, resample
from trunkline.studies.statistics.resampling import means_elsewhere
from trunkline.tasks.metrics import sequence_metrics, token_metrics


def test_all_test_sets_that_can_be_drawn():
    """Of four rows there are 4^4 = 256 sets, all as likely: the share of each score is that among them."""
    run = one_of(3, [0, 1, 2, 2], [0, 2, 2, 1], "f1_macro")
    every = [sequence_metrics(run.true[list(rows)], run.predicted[list(rows)], ["a", "b", "c"])["f1_macro"]
             for rows in product(range(4), repeat=4)]  # fmt: skip
    found = resample({"run": [run]}, resamples=40_000)["run"]
    assert found.observed == pytest.approx(sequence_metrics(run.true, run.predicted, ["a", "b", "c"])["f1_macro"])
    values, counts = np.unique(np.round(every, 9), return_counts=True)
    seen = np.array([(np.abs(found.resampled[0] - value) < 1e-8).sum() for value in values])
    assert seen.sum() == 40_000
    assert stats.chisquare(seen, counts / 256 * 40_000).pvalue > 1e-3


def test_the_interval_is_scipys():
    draw = np.random.default_rng(3)
    values = draw.exponential(1, 60)
    found = estimate(resample({"run": [errors(values)]}, resamples=40_000)["run"])
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=40_000, rng=np.random.default_rng(0))
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.01)
    assert (found.mean, found.rows, found.runs, found.spread) == (pytest.approx(values.mean()), 60, 1, None)
    assert found.covers == "this run on other test rows"


def test_words_of_a_text_are_drawn_together():
    """Against drawing whole texts and scoring their tags again; words drawn one by one would vary less."""
    draw = np.random.default_rng(0)
    true, predicted, offsets = drawn_tags(draw, 12, 2)
    predicted[: offsets[4]] = 0  # texts without a span found
    found = resample({"run": [tagged(2, true, predicted, offsets)]}, resamples=20_000)["run"].resampled[0]
    again = []
    for _ in range(2_000):
        words = [np.arange(offsets[t], offsets[t + 1]) for t in draw.integers(12, size=12)]
        ends = np.concatenate([[0], np.cumsum([len(own) for own in words])])
        again.append(token_metrics(true[np.concatenate(words)], predicted[np.concatenate(words)], ends, ["a", "b"])["f1"])
    assert stats.ks_2samp(found, again).pvalue > 1e-3


def test_all_methods_are_scored_on_the_same_draws():
    draw = np.random.default_rng(0)
    true, one, other = draw.integers(0, 3, (3, 5_000))
    runs = {"a": [one_of(3, true, one), one_of(3, true, other)], "b": [one_of(3, true, other)]}
    found = resample(runs, resamples=2_000)  # several blocks
    assert found["a"].resampled.shape == (2, 2_000)
    assert (found["a"].resampled[1] == found["b"].resampled[0]).all()
    again = resample({"b": runs["b"]}, resamples=2_000)
    assert (again["b"].resampled == found["b"].resampled).all()
    assert (resample({"b": runs["b"]}, resamples=2_000, seed=1)["b"].resampled != found["b"].resampled).any()


def crossed(draw, rows, runs, of_rows, of_runs, of_both):
    """Errors (rows, runs) with a part of each row, one of each run, and one of both; none is below 0."""
    parts = (
        of_rows * draw.standard_normal((rows, 1)),
        of_runs * draw.standard_normal(runs),
        of_both * draw.standard_normal((rows, runs)),
    )
    return 50 + sum(parts)


@pytest.mark.parametrize("parts", [(1.0, 0.0, 1.0), (1.0, 0.1, 2.0), (0.3, 0.5, 0.1)])
def test_variance_over_rows_and_seeds_is_that_of_the_analysis_of_variance(parts):
    """(MS rows + MS seeds - MS both) / (nS), where Student's t has the variance df / (df - 2) for the part of the seeds."""
    rows, runs = 300, 8
    values = crossed(np.random.default_rng(5), rows, runs, *parts)
    by_row, by_run = (values.mean(axis=axis, keepdims=True) for axis in (1, 0))
    of_rows = runs * by_row.var(ddof=1)
    of_runs = rows * by_run.var(ddof=1)
    of_both = ((values - by_row - by_run + values.mean()) ** 2).sum() / ((rows - 1) * (runs - 1))
    expected = (of_rows - of_both + of_runs * 7 / 5) / (rows * runs)
    found = resample({"m": [errors(column) for column in values.T]}, resamples=20_000)["m"]
    drawn = means_elsewhere([found])
    assert drawn.mean() == pytest.approx(values.mean(), abs=4 * np.sqrt(expected / 20_000))
    assert drawn.var() == pytest.approx(expected, rel=0.06)
    table = estimate(found)
    assert table.spread == pytest.approx(by_run.std(ddof=1)) and table.covers == "the mean over other test rows and other seeds"


def test_runs_that_answer_alike_add_nothing():
    draw = np.random.default_rng(0)
    run = rights(draw.random(300) < 0.8)
    one, three = (estimate(found) for found in resample({"one": [run], "three": [run] * 3}).values())
    assert (one.low, one.high) == pytest.approx((three.low, three.high), abs=1e-12)


def test_intervals_end_where_scores_do():
    true = np.zeros(50, int)
    runs = [rights(np.arange(50) >= wrong, true=true) for wrong in (1, 9)]
    found = estimate(resample({"m": runs})["m"])
    assert 0 <= found.low < found.high == 1.0
    others = [rights(np.arange(50) < right, true=true) for right in (1, 20)]
    both = resample({"m": runs, "other": others})
    apart = difference(both["m"], both["other"])
    assert -100 <= apart.low < apart.points < apart.high == 100


def test_no_interval_where_most_drawn_sets_have_no_value():
    true = np.array([1.0, 1, 1, 1, 1, 2])
    rare = resample({"m": [numbers(true, [1, 2, 3, 4, 5, 6], "pearson")]})["m"]  # a third of the draws lack the last row
    assert estimate(rare).low is None and estimate(rare).mean == pytest.approx(stats.pearsonr(true, np.arange(6))[0])
    constant = estimate(resample({"m": [numbers(true, np.full(6, 3.0), "pearson")]})["m"])
    assert (constant.mean, constant.low, constant.high) == (None, None, None)
    often = resample({"m": [numbers(np.arange(6), [1, 2, 3, 4, 6, 5], "pearson")]})["m"]
    assert np.isnan(often.resampled).any() and estimate(often).low is not None  # all rows the same, once in 6^5 draws


def test_what_cannot_be_resampled_together_is_refused():
    with pytest.raises(BadInput, match=r"^b: found no run, expected at least one"):
        resample({"a": [rights([1, 0])], "b": []})
    with pytest.raises(BadInput, match=r"^a and b: present"):
        resample({"a": [rights([1, 0])], "b": [rights([1, 0, 1])]})
    with pytest.raises(BadInput, match=r"^level: found 95, expected a share"):
        estimate(resample({"a": [rights([1, 0])]})["a"], level=95)


def test_learning_curve_has_a_point_for_each_size():
    draw = np.random.default_rng(0)
    runs = {size: [rights(draw.random(400) < share) for _ in range(3)] for size, share in ((1000, 0.9), (64, 0.5), (256, 0.7))}
    points = learning_curve(runs)
    assert [point.size for point in points] == [64, 256, 1000]
    for point in points:
        scores = [np.mean(run.true == run.predicted) for run in runs[point.size]]
        assert (point.estimate.mean, point.estimate.spread) == pytest.approx((np.mean(scores), np.std(scores, ddof=1)))
        alone = estimate(resample({"m": runs[point.size]})["m"])
        assert point.estimate == alone
    with pytest.raises(BadInput, match=r"^64 rows: found no run"):
        learning_curve({64: [], 256: runs[256]})
