"""Linear models against scikit-learn's own, fitted anew at each C; their choice on validation alone; what they cannot learn."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from floortools import rows_with, subject_of, without_trunk
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, log_loss

from trunkline.studies.floors import linear
from trunkline.studies.floors.linear import best_linear
from trunkline.tasks.thresholds import best_threshold, label_thresholds

GRID = (0.01, 0.1, 1.0, 10.0)
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return rows_with(tmp_path_factory.mktemp("linear") / "rows.jsonl", 300, lambda number, row: None)


def noisy(subject, seed=0, width=5, **by_split):
    """Features (texts, width) that say something of the targets, by split."""
    rng, found = np.random.default_rng(seed), {}
    for name in SPLITS:
        values = np.asarray(subject.targets(name).values, np.float64)
        values = values[:, None] if values.ndim == 1 else values
        mixing = np.random.default_rng(99).normal(size=(values.shape[1], width))
        found[name] = values @ mixing + rng.normal(size=(len(values), width)) * 2
    return found | by_split


def cold(features, targets, c, **more):
    """A model of scikit-learn at its defaults, but exact."""
    return LogisticRegression(C=c, tol=1e-10, max_iter=10_000, **more).fit(features["train"], targets("train").values)


def test_the_model_of_one_label_is_the_best_of_those_fitted_alone(rows):
    subject = subject_of(without_trunk(rows, "mood"), "mood")
    features = noisy(subject)
    found = best_linear(subject, [({"form": "only"}, lambda: features)], GRID)
    alone = {c: cold(features, subject.targets, c) for c in GRID}
    right = {c: model.score(features["validation"], subject.targets("validation").values) for c, model in alone.items()}
    best = min(c for c in GRID if right[c] == max(right.values()))
    assert found.chosen == {"form": "only", "C": best} and found.parameters == 5 + 1 and found.findings == []
    assert found.metrics["validation"]["accuracy"] == right[best]
    predicted = alone[best].predict(features["test"])
    assert found.answers.predicted.tolist() == predicted.tolist()
    assert found.answers.true.tolist() == subject.targets("test").values.tolist() and found.answers.offsets is None
    shares = alone[best].predict_proba(features["test"])
    assert found.metrics["test"]["loss"] == pytest.approx(log_loss(found.answers.true, shares), rel=1e-3)


def test_weights_of_rows_and_classes_are_those_of_scikit_learn(tmp_path):
    rows = rows_with(tmp_path / "rows.jsonl", 300, lambda number, row: row.update(w=number % 3))
    config = without_trunk(rows, "mood", mood={"class_weights": "balanced"}, data={"weight": "w"})
    subject = subject_of(config, "mood")
    features, targets = noisy(subject), subject.targets("train")
    found = best_linear(subject, [({}, lambda: features)], (1.0,))
    weights = np.array(subject.train.corpus.table.columns["w"], float)
    assert set(weights) == {0, 1, 2}
    counts = np.bincount(targets.values)
    model = LogisticRegression(class_weight=dict(enumerate(counts.sum() / (2 * counts))), tol=1e-10, max_iter=10_000)
    model.fit(features["train"], targets.values, weights / weights.mean())
    assert found.answers.predicted.tolist() == model.predict(features["test"]).tolist()
    plain = cold(features, subject.targets, 1.0).predict(features["test"])
    assert model.predict(features["test"]).tolist() != plain.tolist()


@pytest.mark.parametrize("threshold", ["tuned", "per_label", 0.3])
def test_each_of_several_labels_has_a_model_and_the_threshold_that_the_task_chooses(threshold, rows):
    subject = subject_of(without_trunk(rows, "topics", topics={"threshold": threshold, "metric": "f1_macro"}), "topics")
    features = noisy(subject)
    found = best_linear(subject, [({}, lambda: features)], (1.0,))
    train, held = subject.targets("train").values, subject.targets("validation").values
    models = [LogisticRegression(tol=1e-10, max_iter=10_000).fit(features["train"], train[:, label]) for label in range(3)]
    scores = {
        name: expit(np.stack([model.decision_function(features[name]) for model in models], axis=1)).astype(np.float32)
        for name in ("validation", "test")
    }
    bound = 0.3 if threshold == 0.3 else best_threshold(held, scores["validation"], "f1_macro")["threshold"]
    if threshold == "per_label":
        bound = label_thresholds(held, scores["validation"], bound, "f1_macro")
    predicted = scores["test"] >= np.asarray(bound, np.float32)
    assert (found.answers.predicted == predicted).all()
    true = subject.targets("test").values
    assert found.metrics["test"]["f1_macro"] == pytest.approx(f1_score(true, found.answers.predicted, average="macro"))
    assert found.parameters == 3 * 6


def test_ridge_regression_is_the_closed_form(rows):
    subject = subject_of(without_trunk(rows, "stars"), "stars")
    features = noisy(subject)
    found = best_linear(subject, [({}, lambda: features)], (0.1,))
    y = subject.targets("train").values
    x, middle = features["train"], features["train"].mean(axis=0)
    centred = x - middle
    weights = np.linalg.solve(centred.T @ centred + 10 * np.eye(5), centred.T @ (y - y.mean()))
    expected = (features["test"] - middle) @ weights + y.mean()
    assert found.answers.predicted == pytest.approx(expected, rel=1e-4)
    assert found.metrics["test"]["pearson"] == pytest.approx(np.corrcoef(expected, found.answers.true)[0, 1], rel=1e-4)
    assert found.parameters == 6


def test_of_equally_good_models_that_with_the_smaller_c_is_taken_then_the_earlier_form(rows):
    subject = subject_of(without_trunk(rows, "mood"), "mood")
    told = {name: subject.targets(name).values[:, None] * 2.0 - 1 for name in SPLITS}
    found = best_linear(subject, [({"form": 1}, lambda: told), ({"form": 2}, lambda: told)], GRID)
    assert found.metrics["validation"]["accuracy"] == 1 and found.chosen == {"form": 1, "C": 0.01}
    blind = {name: np.zeros((len(subject.targets(name).values), 1)) for name in SPLITS}
    found = best_linear(subject, [({"form": 1}, lambda: blind), ({"form": 2}, lambda: told)], GRID)
    assert found.chosen == {"form": 2, "C": 0.01}
    weak = {name: told[name] * (0.001 if name == "train" else 1.0) for name in SPLITS}  # right for a large C only
    late = best_linear(subject, [({"form": 1}, lambda: noisy(subject)), ({"form": 2}, lambda: weak)], (0.01, 1e6))
    assert late.chosen["form"] == 2


def test_the_loss_is_the_least_where_it_is_what_is_monitored(rows):
    subject = subject_of(without_trunk(rows, "mood", mood={"metric": "loss"}), "mood")
    features = noisy(subject)
    found = best_linear(subject, [({}, lambda: features)], GRID)
    losses = {}
    for c in GRID:
        shares = cold(features, subject.targets, c).predict_proba(features["validation"])
        losses[c] = log_loss(subject.targets("validation").values, shares)
    assert found.chosen["C"] == min(losses, key=losses.get)
    assert found.metrics["validation"]["loss"] == pytest.approx(min(losses.values()), rel=1e-3)


def test_the_test_split_plays_no_part_in_the_choice(rows):
    subject = subject_of(without_trunk(rows, "mood"), "mood")
    features = noisy(subject)
    found = best_linear(subject, [({}, lambda: features)], GRID)
    targets = subject.targets("test")
    targets.values[:] = 1 - targets.values
    other = best_linear(subject, [({}, lambda: features)], GRID)
    assert other.chosen == found.chosen and other.metrics["validation"] == found.metrics["validation"]
    assert other.answers.predicted.tolist() == found.answers.predicted.tolist()
    assert other.metrics["test"]["accuracy"] == pytest.approx(1 - found.metrics["test"]["accuracy"])


def test_labels_that_the_training_rows_lack_are_never_predicted_and_cost_a_finite_loss(tmp_path):
    rows = rows_with(tmp_path / "rows.jsonl", 120, lambda number, row: None)
    listed = {"label_list": ["positive", "other", "negative"]}
    config = without_trunk(rows, "mood", "topics", mood=listed, topics={"threshold": 0.5}, data={"rows": 40})
    subject = subject_of(config, "mood")
    found = best_linear(subject, [({}, lambda: noisy(subject))], (1.0,))
    assert 1 not in found.answers.predicted and np.isfinite(found.metrics["test"]["loss"])
    subject.targets("train").values[:] = 2  # one label alone
    only = best_linear(subject, [({}, lambda: noisy(subject))], GRID)
    assert set(only.answers.predicted) == {2} and only.chosen["C"] == GRID[0] and only.parameters == 1
    several = subject_of(config, "topics")
    several.targets("train").values[:, 0], several.targets("train").values[:, 1] = False, True
    found = best_linear(several, [({}, lambda: noisy(several))], (1.0,))
    assert not found.answers.predicted[:, 0].any() and found.answers.predicted[:, 1].all()
    assert found.parameters == 2 + 6


def test_a_model_that_does_not_converge_is_said_in_the_result_and_nowhere_else(rows, monkeypatch):
    monkeypatch.setattr(linear, "STEPS", 2)
    subject = subject_of(without_trunk(rows, "mood"), "mood")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = best_linear(subject, [({"form": "words"}, lambda: noisy(subject))], (0.001, 1000.0))
    [said] = found.findings
    assert said.startswith("after 2 steps, these models had not converged: ") and "words C=1000" in said
