"""Temperatures, calibration errors and coverage: against scikit-learn, a fine grid, and loops over single rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from trunkline.tasks.calibration import (
    BINS,
    abstention_curve,
    beyond,
    calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability_bins,
)


def overconfident(rows: int = 400, classes: int = 5, factor: float = 3.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """fp32 logits (rows, classes) `factor` times too large, and labels drawn from the probabilities of the right ones."""
    drawn = np.random.default_rng(seed)
    logits = drawn.normal(size=(rows, classes)) * 1.5
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (drawn.random((rows, 1)) > shares.cumsum(axis=1)).sum(axis=1)
    return (logits * factor).astype(np.float32), labels


def torch_nll(logits: np.ndarray, true: np.ndarray, temperature: float) -> float:
    scaled = torch.from_numpy(logits.astype(np.float64)) / temperature
    if true.ndim == 2:
        return float(torch.nn.functional.binary_cross_entropy_with_logits(scaled, torch.from_numpy(true).double()))
    return float(torch.nn.functional.cross_entropy(scaled, torch.from_numpy(true)))


def test_the_temperature_is_that_of_scikit_learn():
    scaling = pytest.importorskip("sklearn.calibration")._TemperatureScaling
    logits, labels = overconfident()
    expected = 1 / scaling().fit(logits.astype(np.float64), labels).beta_
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(expected, rel=1e-4) and 2.5 < found < 3.6  # they stop at a tolerance


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("factor", [0.2, 1.0, 8.0])
def test_the_temperature_has_the_lowest_likelihood_of_all(binary, factor):
    logits, labels = overconfident(factor=factor, seed=3)
    true = labels
    if binary:
        drawn = np.random.default_rng(4)
        true = drawn.random(logits.shape) < 1 / (1 + np.exp(-logits / factor))
    found = fit_temperature(logits, true)
    best = minimize_scalar(
        lambda t: torch_nll(logits, true, np.exp(t)), bounds=(-3, 3), method="bounded", options={"xatol": 1e-10}
    )
    assert found == pytest.approx(np.exp(best.x), rel=1e-5)
    assert negative_log_likelihood(logits, true, found) == pytest.approx(torch_nll(logits, true, found), rel=1e-12)
    assert negative_log_likelihood(logits, true, found) <= negative_log_likelihood(logits, true) + 1e-15


def test_the_likelihood_is_that_of_scikit_learn():
    logits, labels = overconfident(50, 3)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected = log_loss(labels, shares / shares.sum(axis=1, keepdims=True), labels=[0, 1, 2])
    assert negative_log_likelihood(logits, labels) == pytest.approx(expected, rel=1e-5)
    assert negative_log_likelihood(logits[:0], labels[:0]) is None


def test_where_every_row_is_right_or_nothing_can_be_known_there_is_no_temperature():
    logits, labels = overconfident(200, 3, factor=1.0)
    for own, true, side in [
        (logits, logits.argmax(axis=1), "below"),
        (logits, logits > 0, "below"),
        (logits, logits.argmin(axis=1), "above"),
        (np.zeros((20, 3), np.float32), np.arange(20) % 3, "above"),
        (logits[:0], labels[:0], None),
    ]:
        assert fit_temperature(own, true) is None and beyond(own, true) == side
    assert beyond(logits, labels) is None and fit_temperature(logits, labels) is not None


def brute_force_error(confidence: np.ndarray, right: np.ndarray) -> float:
    total = 0.0
    for number in range(BINS):
        own = [i for i, c in enumerate(confidence) if (number / BINS < c <= (number + 1) / BINS) or (c == 0 and number == 0)]
        if own:
            total += len(own) / len(confidence) * abs(np.mean(right[own]) - np.mean(confidence[own].astype(np.float64)))
    return total


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=1, max_size=60))
def test_the_calibration_error_is_that_of_single_rows(rows):
    confidence, right = np.array([c for c, _ in rows], np.float32), np.array([r for _, r in rows])
    edges = np.arange(1, BINS) / BINS
    confidence = np.where(np.abs(confidence[:, None] - edges).min(axis=1) < 1e-6, np.float32(0.5), confidence)
    assert calibration_error(confidence, right) == pytest.approx(brute_force_error(confidence, right), abs=1e-9)


def test_the_calibration_error_is_that_of_the_curve_of_scikit_learn():
    drawn = np.random.default_rng(1)
    confidence = drawn.random(2000)
    right = drawn.random(2000) < confidence**2
    true, mean = calibration_curve(right, confidence, n_bins=BINS)  # no bin is empty here
    share = np.histogram(confidence, BINS, (0, 1))[0] / 2000
    assert calibration_error(confidence, right) == pytest.approx((share * np.abs(true - mean)).sum(), abs=1e-12)
    assert calibration_error(confidence[:0], right[:0]) is None


def test_coverage_and_accuracy_are_counted_answer_by_answer():
    confidence = np.array([0.2, 0.5, 0.7, 0.7, 0.9], np.float32)
    right = np.array([True, False, True, False, True])
    curve = abstention_curve(confidence, right, (0.0, 0.5, 0.7, 0.95))
    assert curve == [
        {"min_confidence": 0.0, "coverage": 1.0, "accuracy": 0.6},
        {"min_confidence": 0.5, "coverage": 0.8, "accuracy": 0.5},
        {"min_confidence": 0.7, "coverage": 0.6, "accuracy": 2 / 3},  # 0.7 in fp32 is below 0.7
        {"min_confidence": 0.95, "coverage": 0.0, "accuracy": None},
    ]
    assert abstention_curve(confidence[:0], right[:0], (0.5,)) == [{"min_confidence": 0.5, "coverage": None, "accuracy": None}]


def test_reliability_bins_are_those_of_scikit_learn_and_give_the_calibration_error():
    drawn = np.random.default_rng(5)
    confidence = np.concatenate([drawn.random(300) ** 0.3, [0.0, 1 / BINS, 2 / BINS, 1.0]])
    right = drawn.random(len(confidence)) < confidence
    found = reliability_bins(confidence, right)
    filled = [one for one in found if one.rows]
    accuracy, mean = calibration_curve(right, confidence, n_bins=BINS)
    assert [one.accuracy for one in filled] == pytest.approx(accuracy) and [one.confidence for one in filled] == pytest.approx(
        mean
    )
    assert len(found) == BINS and sum(one.rows for one in found) == len(confidence)
    gaps = [one.rows * abs(one.confidence - one.accuracy) for one in filled]
    assert sum(gaps) / len(confidence) == pytest.approx(calibration_error(confidence, right))
    for one in found:
        inside = (confidence > one.low) & (confidence <= one.high) | ((one.low == 0) & (confidence == 0))
        assert one.rows == inside.sum() and (one.rows > 0) == (one.accuracy is not None)
