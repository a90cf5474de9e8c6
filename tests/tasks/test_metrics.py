"""Metrics against their definitions, written out."""

import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_fscore_support

from trunkline.tasks import metrics

LABELS = ["a", "b", "c", "d"]


def prf(right, predicted, gold):
    p = right / predicted if predicted else 0.0
    r = right / gold if gold else 0.0
    return p, r, 2 * p * r / (p + r) if p + r else 0.0


def check_averages(result, counts, kept):
    """`counts`: (right, predicted, gold) of each label; `kept`: the labels that macro and weighted means are over."""
    by_label = [prf(*counts[i]) for i in kept]
    weights = [counts[i][2] for i in kept]
    for at, name in enumerate(("precision", "recall", "f1")):
        values = [row[at] for row in by_label]
        assert result[f"{name}_macro"] == pytest.approx(sum(values) / max(len(values), 1))
        weighted = sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights) if sum(weights) else 0.0
        assert result[f"{name}_weighted"] == pytest.approx(weighted)
        assert result[f"{name}_micro"] == pytest.approx(prf(*map(sum, zip(*counts, strict=True)))[at])


def flat_names(result):
    return {name for name, value in result.items() if not isinstance(value, dict)}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_sequence_metrics(pairs):
    true, predicted = (np.array(side) for side in zip(*pairs, strict=True))
    result = metrics.sequence_metrics(true, predicted, LABELS)
    assert flat_names(result) == set(metrics.SEQUENCE)
    counts = [
        (int(((true == i) & (predicted == i)).sum()), int((predicted == i).sum()), int((true == i).sum())) for i in range(4)
    ]
    check_averages(result, counts, [i for i in range(4) if counts[i][1] or counts[i][2]])
    assert result["accuracy"] == pytest.approx(sum(t == p for t, p in pairs) / len(pairs))
    for label, count in zip(LABELS, counts, strict=True):
        row = result["by_label"][label]
        assert (row["precision"], row["recall"], row["f1"]) == pytest.approx(prf(*count))
        assert row["support"] == count[2] and row["predicted"] == count[1]
    counted = Counter((LABELS[true], LABELS[predicted]) for true, predicted in pairs)
    assert result["confusion"] == {
        true: {predicted: counted[true, predicted] for predicted in LABELS if counted[true, predicted]}
        for true in LABELS
        if any(counted[true, predicted] for predicted in LABELS)
    }
    # Gorodkin's R_K: covariance of the one-hot matrices over the product of their deviations
    t, p = np.eye(4)[true], np.eye(4)[predicted]
    cross, own, other = (float(((x - x.mean(0)) * (y - y.mean(0))).sum()) for x, y in ((t, p), (t, t), (p, p)))
    expected = cross / math.sqrt(own * other) if own * other > 1e-12 else 0.0
    assert result["matthews"] == pytest.approx(expected, abs=1e-9)
    json.dumps(result, allow_nan=False)


def test_two_labels_also_give_the_scores_of_the_positive_one():
    true, predicted, labels = np.array([0, 1, 1, 1, 0]), np.array([1, 1, 1, 0, 0]), ["negative", "positive"]
    result = metrics.sequence_metrics(true, predicted, labels)
    assert flat_names(result) == {*metrics.SEQUENCE, *metrics.BINARY}
    for positive in (0, 1):
        result = metrics.sequence_metrics(true, predicted, labels, positive)
        expected = precision_recall_fscore_support(true, predicted, average="binary", pos_label=positive)[:3]
        assert (result["precision"], result["recall"], result["f1"]) == pytest.approx(expected)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.integers(1, 4), st.integers(0, 1000), st.sampled_from([0.0, 0.2, 0.6]))
def test_multilabel_metrics(texts, size, seed, share):
    generator = np.random.default_rng(seed)
    true, scores = generator.random((texts, size)) < share, generator.random((texts, size))
    predicted = scores > 0.6
    result = metrics.multilabel_metrics(true, predicted, scores, LABELS[:size])
    assert flat_names(result) == set(metrics.MULTILABEL)
    counts = [
        (int((true[:, i] & predicted[:, i]).sum()), int(predicted[:, i].sum()), int(true[:, i].sum())) for i in range(size)
    ]
    check_averages(result, counts, [i for i in range(size) if counts[i][1] or counts[i][2]])
    assert result["accuracy"] == pytest.approx(np.mean([list(t) == list(p) for t, p in zip(true, predicted, strict=True)]))
    for label, count in zip(LABELS[:size], counts, strict=True):
        row = result["by_label"][label]
        assert (row["precision"], row["recall"], row["f1"], row["support"]) == pytest.approx((*prf(*count), count[2]))
        assert row["predicted"] == count[1]
    precisions = []
    for i in range(size):  # the mean precision at each right label, from the highest score down
        ranked = true[np.argsort(-scores[:, i]), i]
        at = [ranked[: k + 1].mean() for k in np.flatnonzero(ranked)]
        precisions += [np.mean(at)] if at else []
    expected = pytest.approx(np.mean(precisions)) if precisions else None
    assert result["average_precision"] == expected
    json.dumps(result, allow_nan=False)


def test_predictions_that_are_all_right_have_macro_scores_of_one_whatever_other_labels_there_are():
    true = np.array([[True, False, False], [True, True, False]])
    result = metrics.multilabel_metrics(true, true, true.astype(float), LABELS[:3])
    assert result["f1_macro"] == result["precision_macro"] == result["recall_macro"] == 1.0
    assert result["by_label"]["c"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0, "predicted": 0}


@pytest.mark.parametrize(("labels", "order"), [(["a", "c"], ["a", "b", "c", "d"]), (["c", "a"], ["c", "a", "b", "d"])])
def test_labels_that_training_lacked_stand_among_sorted_ones(labels, order):
    unseen = ("b", "d")
    sets = np.eye(4, dtype=bool)
    numbers = np.arange(4)
    found = [
        metrics.sequence_metrics(numbers, numbers, labels, unseen=unseen),
        metrics.multilabel_metrics(sets, sets, sets.astype(float), labels, unseen),
        metrics.token_metrics(1 + 2 * numbers, 1 + 2 * numbers, np.array([0, 4]), labels, unseen),
    ]
    assert [list(result["by_label"]) for result in found] == [order] * 3
    assert all(row["support"] == 1 for result in found for row in result["by_label"].values())


def test_regression_metrics():
    generator = np.random.default_rng(0)
    true = generator.standard_normal(50)
    predicted = true + generator.standard_normal(50)
    result = metrics.regression_metrics(true, predicted)
    assert flat_names(result) == set(metrics.REGRESSION)
    ranks = [np.argsort(np.argsort(x)) for x in (true, predicted)]
    assert result["pearson"] == pytest.approx(np.corrcoef(true, predicted)[0, 1])
    assert result["spearman"] == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert result["mse"] == pytest.approx(np.mean((true - predicted) ** 2))
    assert result["mae"] == pytest.approx(np.mean(np.abs(true - predicted)))
    assert result["r2"] == pytest.approx(1 - np.mean((true - predicted) ** 2) / np.var(true))


@pytest.mark.parametrize("true, predicted", [([1.0, 2.0, 3.0], [2.0, 2.0, 2.0]), ([1.0, 1.0], [1.0, 2.0]), ([1.0], [2.0])])
def test_undefined_correlations_are_none_and_never_nan(true, predicted):
    result = metrics.regression_metrics(np.array(true), np.array(predicted))
    assert result["pearson"] is None and result["spearman"] is None
    json.dumps(result, allow_nan=False)
