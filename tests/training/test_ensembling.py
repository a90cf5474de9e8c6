"""Trained branches put together as one: what is saved answers as the sum of its members, and is calibrated on validation."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from clitools import done
from scipy.optimize import minimize
from synthetic import config, write_rows
from tasktools import corpus_of, fitted

from trunkline.branches import methods
from trunkline.data.sources import read_table
from trunkline.errors import BadInput
from trunkline.model.branch import load_branch
from trunkline.model.bundle import Bundle
from trunkline.tasks import Targets
from trunkline.training.ensembling import least_loss, make_ensemble
from trunkline.training.fit import fit

METHODS = [
    {"name": "probe"},
    {"name": "probe", "layer": 1},
    {"name": "adalayers", "dim": 16, "heads": 2, "alpha": 4, "cutoff": 0.0},
]


@pytest.fixture(scope="module")
def runs(tiny_trunk_dir, tmp_path_factory):
    """Three runs of two tasks, on the same rows."""
    home = tmp_path_factory.mktemp("runs")
    rows = write_rows(home / "rows.jsonl", 300)
    made = []
    for number, method in enumerate(METHODS):
        values = config(tiny_trunk_dir, rows, tasks=("mood", "cities"), epochs=1)
        values["tasks"]["cities"]["crf"] = True
        fit({**values, "method": method}, run_dir=home / str(number), subscribers=[lambda event: None])
        made.append(home / str(number) / "branches")
    return made


@pytest.mark.parametrize(("task", "weights"), [("mood", "equal"), ("mood", "validation"), ("cities", "validation")])
def test_a_saved_ensemble_answers_as_the_sum_of_its_members(runs, tmp_path, task, weights):
    said = []
    made = make_ensemble([run / task for run in runs], tmp_path / task, weights=weights, device="cpu", say=said.append)
    assert not said and sum(made.shares) == pytest.approx(1, abs=1e-5)
    assert (len(set(made.shares)) == 1) == (weights == "equal")
    branch = load_branch(tmp_path / task)
    assert branch.method.name == "ensemble" and branch.decision.rows == 60 and branch.metrics["validation"]
    members = [load_branch(run / task) for run in runs]
    factors = [share / (own.decision.temperature or 1) for share, own in zip(made.shares, members, strict=True)]
    assert branch.method.weights == pytest.approx(factors) and made.weights == branch.method.weights
    if task == "cities":
        own = sum(f * m.criterion.crf.transitions for f, m in zip(factors, members, strict=True))
        torch.testing.assert_close(branch.criterion.crf.transitions, own)
        return
    texts = read_table(str(runs[0].parent.parent / "rows.jsonl")).column("text")[:30]
    together = Bundle.open([tmp_path / task], device="cpu").predict_proba(texts)["mood"]
    scores = [np.log(Bundle.open([run / task], device="cpu").predict_proba(texts)["mood"]) for run in runs]
    mixed = sum(share * one for share, one in zip(made.shares, scores, strict=True)) / (branch.decision.temperature or 1)
    expected = np.exp(mixed) / np.exp(mixed).sum(1, keepdims=True)
    np.testing.assert_allclose(together, expected, rtol=1e-3, atol=1e-4)


def test_weights_have_the_least_loss_that_another_optimiser_finds():
    draw = np.random.default_rng(0)
    values = draw.integers(0, 3, 200)
    task = fitted("sequence", corpus_of(label=["a", "b", "c"]), label="label")
    logits = [(np.eye(3)[values] * strength + draw.normal(size=(200, 3))).astype(np.float32) for strength in (1.5, 0.3, 0.0)]
    found = least_loss(logits, task, task.criterion(), Targets(values, np.ones(200, bool)), None)

    def loss(weights):
        mixed = sum(w * one.astype(np.float64) for w, one in zip(weights, logits, strict=True))
        return np.mean(np.log(np.exp(mixed).sum(1)) - mixed[np.arange(200), values])

    best = minimize(
        loss, [1 / 3] * 3, bounds=[(0, 1)] * 3, constraints={"type": "eq", "fun": lambda w: sum(w) - 1}, method="SLSQP"
    )
    assert found == pytest.approx(list(best.x), abs=2e-2) and found[0] > 0.8
    assert loss(found) <= best.fun + 1e-4


def test_other_rows_of_validation_have_to_be_given(runs, tiny_trunk_dir, tmp_path):
    rows = write_rows(tmp_path / "other.jsonl", 100, seed=4)
    values = config(tiny_trunk_dir, rows, tasks=("mood",), epochs=1)
    fit({**values, "method": {"name": "probe"}}, run_dir=tmp_path / "run")
    paths, said = [runs[0] / "mood", tmp_path / "run" / "branches" / "mood"], []
    with pytest.raises(BadInput, match=r"validated on different rows.*; give the data to weigh the branches on"):
        make_ensemble(paths, tmp_path / "out", weights="validation", device="cpu")
    made = make_ensemble(paths, tmp_path / "out", device="cpu", say=said.append)
    assert made.shares == [0.5, 0.5] and made.branch.decision is None and "are not calibrated" in said[0]
    held = write_rows(tmp_path / "held.jsonl", 80, seed=5)
    made = make_ensemble(paths, tmp_path / "weighed", weights="validation", validation=str(held), device="cpu")
    assert made.branch.decision.rows == 80 and None not in made.members and made.score is not None
    described = json.loads((tmp_path / "weighed" / "branch.json").read_text())
    assert [own["name"] for own in described["method"]["members"]] == ["probe", "probe"]


@pytest.mark.parametrize(
    ("places", "said"),
    [
        (["0/branches/mood"], "found one branch, expected at least two"),
        (["0/branches/mood", "1/branches/cities"], "found a task of kind token, expected sequence as of"),
        (["0"], "found a task of kind token, expected sequence as of"),
    ],
)
def test_branches_that_are_not_alike_are_refused(runs, tmp_path, places, said):
    with pytest.raises(BadInput, match=said):
        make_ensemble([runs[0].parent.parent / place for place in places], tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


def test_the_command_tells_weights_and_scores(runs, tmp_path):
    paths = [str(run / "mood") for run in runs]
    found = json.loads(done("ensemble", *paths, "-o", str(tmp_path / "out"), "--weights", "validation", "--json").stdout)
    assert [own["branch"] for own in found["members"]] == paths and found["monitor"] == "accuracy"
    own = load_branch(tmp_path / "out")
    assert found["validation"] == own.metrics["validation"]["accuracy"]
    trained = [load_branch(path).metrics["validation"]["accuracy"] for path in paths]
    assert [one["validation"] for one in found["members"]] == pytest.approx(trained)
    described = json.loads(done("info", str(tmp_path / "out"), "--json").stdout)
    assert [one["weight"] for one in described["members"]] == [one["weight"] for one in found["members"]] == own.method.weights
    assert [one["method"] for one in described["members"]] == [branch["name"] for branch in own.method.members]
    for one, whole in zip(described["members"], own.method.members, strict=True):  # the others are the default ones
        assert methods.get(whole["name"]).Config(name=whole["name"], **one["settings"]).model_dump(mode="json") == whole
    shown = done("info", str(tmp_path / "out")).stdout
    assert f"{own.method.weights[0]:.4f}" in shown and "trained in" not in shown and "{" not in shown
