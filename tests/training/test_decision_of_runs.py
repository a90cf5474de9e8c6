"""The decision layer that a run fits on its validation rows, against one fitted anew to the logits of the saved branches."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from rich.console import Console
from scipy.optimize import minimize_scalar
from sklearn.metrics import f1_score
from synthetic import config, write_rows

from trunkline import Bundle, fit
from trunkline.cli.info import _show_branch
from trunkline.model.branch import load_branch
from trunkline.model.facts import branch_facts
from trunkline.tasks.thresholds import CANDIDATES
from trunkline.training.decision import ROWS, decision_findings
from trunkline.training.result import decision_sentence


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def run(tiny_trunk_dir, tmp_path_factory):
    """A run of all kinds with 60 validation rows; of `rare`, 20 have a label."""
    home = tmp_path_factory.mktemp("decision")
    splits = {
        name: write_rows(home / f"{name}.jsonl", count, seed) for name, count, seed in (("train", 60, 0), ("held", 60, 1))
    }
    for path in splits.values():
        rows = [{**row, "rare": row["label"] if number < 20 else None} for number, row in enumerate(rows_of(path))]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    values = config(tiny_trunk_dir, splits["train"], tasks=("mood", "cities", "topics", "stars"), epochs=2)
    values["tasks"] |= {"rare": {"kind": "sequence", "label": "rare"}, "chained": {**values["tasks"]["cities"], "crf": True}}
    values["tasks"]["topics"] |= {"threshold": "per_label"}
    values["data"] |= {"validation": str(splits["held"]), "test": str(splits["held"])}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRUNKLINE_CACHE", str(home / "cache"))
        return fit(values, run_dir=home / "run", progress=False), rows_of(splits["held"])


def log_probabilities(run, name: str) -> tuple[torch.Tensor, torch.Tensor, bool]:
    """fp64 logarithms of what the branch says without its temperature (of labels that may all hold, its logits), and what is
    right, both by row."""
    result, rows = run
    bundle = Bundle.open(result)
    branch = bundle.branches[name]
    branch.decision = None
    shares = bundle.only(name).predict_proba([row["text"] for row in rows])[name]
    number = {label: i for i, label in enumerate(branch.task.labels)}
    if name in ("cities", "chained"):
        true = [number[tag] for row in rows for tag in row["tags"]]
        return torch.from_numpy(np.concatenate(shares)).double().log(), torch.tensor(true), False
    if name == "topics":
        true = [[float(label in row["topics"]) for label in branch.task.labels] for row in rows]
        return torch.logit(torch.from_numpy(shares).double()), torch.tensor(true).double(), True
    return torch.from_numpy(shares).double().log(), torch.tensor([number[row["label"]] for row in rows]), False


@pytest.mark.parametrize("name", ["mood", "cities", "chained", "topics"])
def test_the_temperature_is_the_best_for_the_logits_of_the_saved_branch(run, name):
    decision = load_branch(run[0].branches[name]).decision
    logits, true, several = log_probabilities(run, name)
    loss = torch.nn.functional.binary_cross_entropy_with_logits if several else torch.nn.functional.cross_entropy
    best = minimize_scalar(lambda t: float(loss(logits / np.exp(t), true)), bounds=(-3, 3), method="bounded")
    assert decision.rows == 60 and decision.temperature == pytest.approx(np.exp(best.x), rel=1e-2)
    own, plain = decision.calibration["validation"].after.nll, decision.calibration["validation"].before.nll
    assert own == pytest.approx(best.fun, rel=1e-4) and plain == pytest.approx(float(loss(logits, true)), rel=1e-4)
    assert decision.calibration["test"].after.nll == pytest.approx(own, rel=1e-3)  # the same rows, their states not stored
    task = run[0].tasks[name]
    assert task["validation"]["nll"] == own and task["decision"] == decision.model_dump(mode="json")
    assert json.loads((run[0].branches[name] / "branch.json").read_text())["decision"] == task["decision"]


def test_the_curve_is_what_is_counted_answer_by_answer(run):
    result, rows = run
    answers = Bundle.open(result).predict([row["text"] for row in rows])
    spans = [(a["cities"]["spans"], row) for a, row in zip(answers, rows, strict=True)]
    found = {
        "mood": [(a["mood"]["score"], a["mood"]["label"] == row["label"]) for a, row in zip(answers, rows, strict=True)],
        "topics": [
            (np.prod([s if label in a["topics"]["labels"] else 1 - s for label, s in a["topics"]["scores"].items()]),
             set(a["topics"]["labels"]) == set(row["topics"]))
            for a, row in zip(answers, rows, strict=True)
        ],
        "cities": [(span["score"], span["text"] in ("paris", "tokyo")) for own, _ in spans for span in own],
    }  # fmt: skip
    for name, own in found.items():
        for level in load_branch(result.branches[name]).decision.abstention:
            kept = [right for score, right in own if score >= level.min_confidence - 1e-7]
            assert level.coverage == (pytest.approx(len(kept) / len(own)) if own else None)
            assert level.accuracy == (pytest.approx(np.mean(kept)) if kept else None)


def test_thresholds_are_chosen_of_calibrated_probabilities(run):
    result, rows = run
    branch, chosen = load_branch(result.branches["topics"]), result.tasks["topics"]["tuned"]
    assert list(branch.decision.thresholds) == chosen["thresholds"] and len(chosen["thresholds"]) == 3
    true = np.array([[label in row["topics"] for label in branch.task.labels] for row in rows])
    shares = Bundle.open(result).only("topics").predict_proba([row["text"] for row in rows])["topics"]
    best = max(f1_score(true, shares >= np.float32(one), average="micro", zero_division=0) for one in CANDIDATES)
    shared = f1_score(true, shares >= np.float32(chosen["threshold"]), average="micro", zero_division=0)
    assert shared == pytest.approx(best, abs=0.02)  # the rows' states were stored in bf16 then
    said = f"thresholds by label from {min(chosen['thresholds']):g} to {max(chosen['thresholds']):g} instead of 0.5"
    assert said in repr(result)


def test_few_rows_have_no_temperature_and_numbers_have_no_decision(run):
    result, _ = run
    rare = load_branch(result.branches["rare"]).decision
    assert (rare.rows, rare.temperature, rare.abstention) == (20, None, ())
    assert rare.calibration["validation"].before == rare.calibration["validation"].after
    why = f"it has 20 rows with a label, and a temperature is fitted to at least {ROWS}"
    assert result.findings.count(f"validation: the scores of 'rare' are not calibrated: {why}.") == 1
    assert load_branch(result.branches["stars"]).decision is None and "decision" not in result.tasks["stars"]
    for beyond, why in [("below", "all predictions are right"), ("above", "the scores say nothing about what is right")]:
        [said] = decision_findings({"a": {"decision": {"rows": 80, "temperature": None, "beyond": beyond}}, "b": {}})
        assert f"'a' are not calibrated: the best temperature is {beyond} " in said
        assert said.endswith(f"as where {why}, for its 80 rows.")
    [said] = decision_findings({"a": {"decision": {"rows": 80, "temperature": None}}})  # of a run before that was recorded
    assert "no temperature from 0.05 to 20 is best for its 80 rows." in said


def test_the_calibration_is_told_where_scores_are_shown(run):
    result, _ = run
    found = result.tasks["mood"]["decision"]
    before, after = found["calibration"]["test"]["before"], found["calibration"]["test"]["after"]
    error, nll = (f"{before[key]:.4f} -> {after[key]:.4f}" for key in ("calibration_error", "nll"))
    warm = f"temperature {found['temperature']:.3g}, fitted on 60 validation rows"
    said = f"{warm}: test calibration error {error}, nll {nll}"
    assert decision_sentence(result.tasks["mood"]) == said and said in repr(result)
    assert decision_sentence(result.tasks["rare"]) is None and decision_sentence(result.tasks["stars"]) is None
    facts = branch_facts(result.branches["mood"])
    console = Console(file=io.StringIO(), width=120)
    _show_branch({**facts, "decision": found | {"thresholds": [0.25, 0.75]}}, console)
    shown = console.file.getvalue()
    assert said in shown and "answers that are at least so confident, on validation" in shown
    rows = [line.split() for line in shown.splitlines()]
    assert [facts["labels"][1], "0.75"] in rows
    for level in found["abstention"]:
        shares = ["-" if level[key] is None else f"{level[key]:.1%}" for key in ("coverage", "accuracy")]
        assert [f"{level['min_confidence']:g}", *shares] in rows
