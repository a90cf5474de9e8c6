"""What a branch makes of its logits by the decision layer: probabilities change, labels and tags do not; saved and read."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from everykind import TEXTS, bundle_of_every_kind
from mutations import put, resave
from scipy.special import expit, softmax

from trunkline.errors import BadInput
from trunkline.export.branch import facts
from trunkline.model.branch import load_branch, save_branch
from trunkline.model.bundle import Bundle
from trunkline.model.decision import Decision
from trunkline.model.relabel import relabel

LABELLED = ("mood", "flag", "topics", "columns", "slots", "chained")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return bundle_of_every_kind(tmp_path_factory.mktemp("trunk") / "tiny-bert")


def decided(bundle: Bundle, temperature: float | None, **more) -> Bundle:
    """The same branches with a decision."""
    made = Decision(rows=60, temperature=temperature, **more)
    branches = {
        name: branch if branch.task.confidence is None else dataclasses.replace(branch, decision=made)
        for name, branch in bundle.branches.items()
    }
    return Bundle(bundle.trunk, branches)


@pytest.mark.parametrize("temperature", [0.3, 2.5, 20.0])
def test_a_temperature_changes_probabilities_and_neither_labels_nor_tags(plain, temperature):
    hot = decided(plain, temperature)
    before, after = plain.predict_proba(TEXTS), hot.predict_proba(TEXTS)
    for name in LABELLED:
        for cold, warm in zip(before[name], after[name], strict=True):
            cold = np.clip(cold.astype(np.float64), 1e-12, 1 - 1e-7)
            if plain.branches[name].task.kind == "multilabel":
                expected = expit(np.log(cold / (1 - cold)) / temperature)
            else:  # of a chain, the marginals
                expected = softmax(np.log(cold) / temperature, axis=-1)
            assert np.allclose(warm, expected, atol=2e-3)
    for cold, warm in zip(plain.predict(TEXTS), hot.predict(TEXTS), strict=True):
        assert cold["stars"] == warm["stars"]
        assert [cold[name]["label"] for name in ("mood", "flag")] == [warm[name]["label"] for name in ("mood", "flag")]
        for name in ("slots", "chained"):
            cut = [[(s["start"], s["end"], s["label"]) for s in answer[name]["spans"]] for answer in (cold, warm)]
            assert cut[0] == cut[1]
        for name in ("mood", "flag"):  # the scores are those of predict_proba
            assert warm[name]["score"] == warm[name]["scores"][warm[name]["label"]]
    shares = {name: after[name] for name in ("mood", "flag", "topics", "columns")}
    for row, answer in enumerate(hot.predict(TEXTS)):
        assert all(np.allclose(list(answer[name]["scores"].values()), own[row]) for name, own in shares.items())


def test_logits_that_a_temperature_makes_equal_keep_their_label(plain):
    branch = decided(plain, 20.0).branches["mood"]
    close = np.float32([[1.0, np.nextafter(np.float32(1), np.float32(2)), 0.0], [60.0, 60.0001, 0.0]])
    assert len(np.unique(branch.probabilities(close)[0])) == 2  # equal in fp32
    assert np.array_equal(branch.decode(close).values, branch.criterion.decode(close).values)


def test_the_score_of_a_tag_is_its_own_calibrated_probability(plain):
    for name in ("slots", "chained"):
        branch = decided(plain, 3.0).branches[name]
        logits = torch.randn(7, branch.task.outputs, generator=torch.Generator().manual_seed(2)) * 4
        offsets = np.array([0, 3, 3, 7])
        decoded, shares = branch.decode(logits, offsets), branch.probabilities(logits, offsets)
        assert np.allclose(shares.sum(axis=1), 1, atol=1e-6)
        same = decoded.values == branch.criterion.decode(logits, offsets).values
        assert same.all()
        chosen = shares[np.arange(7), decoded.values]
        inside = shares[np.arange(7), np.minimum(decoded.values + 1, branch.task.outputs - 1)]
        kept = (decoded.values % 2 == 0) | (inside <= chosen)  # an I- that begins a span is read as B-
        assert np.allclose(decoded.scores[kept], chosen[kept]) and kept.any()


def test_thresholds_are_of_calibrated_probabilities_label_by_label(plain):
    thresholds = (0.4, 0.5, 0.6)
    branch = dataclasses.replace(plain.branches["topics"], decision=Decision(rows=60, temperature=2.0, thresholds=thresholds))
    logits = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32) * 2
    assert np.array_equal(branch.decode(logits).values, expit(logits / 2) >= np.array(thresholds))


def test_the_card_of_an_export_has_thresholds_of_what_other_libraries_compute(plain):
    topics = plain.branches["topics"]
    assert facts(topics)["task"]["threshold"] == pytest.approx(0.5)
    topics.task.learned.threshold = 0.2
    warm = dataclasses.replace(topics, decision=Decision(rows=60, temperature=2.0))
    logits = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32) * 2
    about = facts(warm)["task"]
    assert about["temperature of calibrated probabilities"] == 2.0
    assert np.array_equal(expit(logits) >= about["threshold"], warm.decode(logits).values)
    own = dataclasses.replace(topics, decision=Decision(rows=60, temperature=2.0, thresholds=(0.1, 0.3, 0.6)))
    thresholds = facts(own)["task"]["thresholds"]
    assert np.array_equal(expit(logits) >= np.array([thresholds[name] for name in "pqr"]), own.decode(logits).values)
    topics.task.learned.threshold = 0.5
    assert facts(plain.branches["mood"])["task"].keys().isdisjoint({"threshold", "temperature of calibrated probabilities"})


def test_the_measures_are_those_of_the_answers(plain):
    mood = decided(plain, 2.0).only("mood")
    right = ["a", "b", "c", "a"]
    found = mood.score(TEXTS, right)
    shares = mood.predict_proba(TEXTS)["mood"].astype(np.float64)
    assert found["nll"] == pytest.approx(-np.mean(np.log(shares[np.arange(4), [0, 1, 2, 0]])), rel=1e-5)
    assert 0 <= found["calibration_error"] <= 1
    assert set(plain.only("stars").score(TEXTS, [1.0, 2.0, 3.0, 4.0])).isdisjoint({"nll", "calibration_error"})
    cold = plain.only("mood").score(TEXTS, right)
    assert cold["accuracy"] == found["accuracy"] and cold["nll"] != found["nll"]


def test_a_decision_is_saved_read_and_refused_where_it_does_not_fit(plain, tmp_path):
    hot = decided(plain, 1.75, abstention=({"min_confidence": 0.5, "coverage": 0.9, "accuracy": 0.8},)).branches
    save_branch(hot["mood"], tmp_path / "mood")
    again = load_branch(tmp_path / "mood")
    assert again.decision == hot["mood"].decision
    relabel(tmp_path / "mood", {"a": "good"})
    assert load_branch(tmp_path / "mood").decision == again.decision
    save_branch(plain.branches["mood"], tmp_path / "without")
    assert "decision" not in json.loads((tmp_path / "without/branch.json").read_text())
    assert load_branch(tmp_path / "without").decision is None
    described = json.loads((tmp_path / "mood/branch.json").read_text())
    wrong = [
        (("decision", "temperature"), 0, "decision.temperature: found 0"),
        (("decision", "temperature"), "2", "decision.temperature: found"),
        (("decision", "rows"), 0, "decision.rows: found 0"),
        (("decision", "more"), 1, "decision.more: unknown"),
        (("decision", "abstention", 0, "coverag"), 1, "did you mean 'coverage'"),
        (("decision", "calibration"), {"test": {"before": {"nll": 1.0}}}, "decision.calibration.test.before.calibration_error"),
        (("decision", "thresholds"), [0.5, 0.5, 0.5], "decision.thresholds: found 3 for a task of kind sequence with 3 labels"),
        (("decision", "abstention"), [{"min_confidence": 2, "coverage": 1, "accuracy": 1}], "decision.abstention"),
    ]
    for place, value, sentence in wrong:
        resave(tmp_path / "mood", put(described, place, value), 2)
        with pytest.raises(BadInput) as error:
            load_branch(tmp_path / "mood")
        assert sentence in str(error.value) and "\n" not in str(error.value)
    save_branch(plain.branches["topics"], tmp_path / "topics")
    two = Decision(rows=60, temperature=2.0, thresholds=(0.5, 0.4)).model_dump(mode="json")
    resave(tmp_path / "topics", {**json.loads((tmp_path / "topics/branch.json").read_text()), "decision": two}, 2)
    with pytest.raises(BadInput, match=r"decision\.thresholds: found 2 for a task of kind multilabel with 3 labels"):
        load_branch(tmp_path / "topics")
    (tmp_path / "mood/branch.json").write_text(json.dumps(put(described, ("decision", "temperature"), 1.5)))
    with pytest.raises(BadInput, match=r"saved with another branch.json"):
        load_branch(tmp_path / "mood")


def test_numbers_have_no_decision(plain, tmp_path):
    save_branch(plain.branches["stars"], tmp_path / "stars")
    described = json.loads((tmp_path / "stars/branch.json").read_text())
    made = Decision(rows=60, temperature=2.0).model_dump(mode="json")
    resave(tmp_path / "stars", {**described, "decision": made}, 2)
    with pytest.raises(BadInput, match="decision: found one for a task of kind regression, expected none"):
        load_branch(tmp_path / "stars")
