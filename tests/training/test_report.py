"""What a run says of its data before training, and of its scores after it."""

import itertools
import json

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.metrics import accuracy_score, f1_score
from synthetic import config, write_rows

from trunkline.events import Finding, RunStarted, TrainingStarted
from trunkline.tasks.sequence import SequenceCriterion
from trunkline.training import clock
from trunkline.training.clock import PARTS
from trunkline.training.fit import fit
from trunkline.training.report import what_helps


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def run(tiny_trunk_dir, tmp_path_factory):
    """A run of all kinds whose branch `mood` always says "negative"; its events; and the rows of each split."""
    home = tmp_path_factory.mktemp("report")
    splits = {
        name: write_rows(home / f"{name}.jsonl", count, seed)
        for name, count, seed in (("train", 40, 0), ("validation", 15, 1), ("test", 20, 2))
    }
    kept = rows_of(splits["train"])
    del kept[3]["label"]
    splits["train"].write_text("".join(json.dumps({"label": None, **row}) + "\n" for row in kept))
    values = config(tiny_trunk_dir, splits["train"], tasks=("mood", "cities", "topics", "stars"), epochs=1)
    values["data"] |= {"validation": str(splits["validation"]), "test": str(splits["test"])}
    events = []
    decode = SequenceCriterion.decode

    def negative(self, logits, offsets=None, **fitted):
        decoded = decode(self, logits, offsets, **fitted)
        decoded.values = np.zeros_like(decoded.values)
        return decoded

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "now", itertools.count(0.0).__next__)  # a second passes between any two looks at it
        patch.setattr(SequenceCriterion, "decode", negative)
        patch.setenv("TRUNKLINE_CACHE", str(home / "cache"))
        result = fit(values, run_dir=home / "run", subscribers=[events.append])
    return result, events, {name: rows_of(path) for name, path in splits.items()}


def test_rows_and_labels_are_told_before_training(run):
    result, events, rows = run
    started = next(event for event in events if isinstance(event, RunStarted))
    facts = {task.name: task for task in started.tasks}
    labels = [row["label"] for row in rows["train"]]
    assert facts["mood"].data["labels"]["train"] == {name: labels.count(name) for name in ("negative", "positive")}
    assert facts["mood"].data["rows"] == {"train": 39, "validation": 15, "test": 20}
    assert facts["mood"].data["unlabelled"] == {"train": 1, "validation": 0, "test": 0}
    assert facts["mood"].positive == "positive" and facts["stars"].positive is None
    spans = [tag for row in rows["test"] for tag in row["tags"]].count("B-city")
    assert facts["cities"].data["labels"]["test"] == {"city": spans} and facts["cities"].data["unit"] == "span"
    films = sum("film" in row["topics"] for row in rows["validation"])
    assert facts["topics"].data["labels"]["validation"]["film"] == films
    stars = [row["stars"] for row in rows["train"]]
    assert facts["stars"].data["numbers"]["train"] == pytest.approx([min(stars), np.mean(stars), max(stars)], rel=1e-5)
    assert {name: task["data"] for name, task in result.tasks.items()} == {name: task.data for name, task in facts.items()}
    steps = next(event for event in events if isinstance(event, TrainingStarted))
    assert steps.epochs == 1 and steps.steps == result.summary["history"][-1]["step"]


def test_every_score_has_that_of_its_baseline_beside_it(run):
    result, _, rows = run
    for split in ("validation", "test"):
        known, true = [row["label"] for row in rows["train"] if row["label"]], [row["label"] for row in rows[split]]
        guessed = DummyClassifier().fit([[0]] * len(known), known).predict([[0]] * len(true))
        mood = result.tasks["mood"]["baseline"]
        assert mood[split]["accuracy"] == pytest.approx(accuracy_score(true, guessed))
        assert mood[split]["f1_macro"] == pytest.approx(f1_score(true, guessed, average="macro"))
        mean = np.mean([row["stars"] for row in rows["train"]])
        error = np.mean([(row["stars"] - mean) ** 2 for row in rows[split]])
        assert result.tasks["stars"]["baseline"][split]["mse"] == pytest.approx(error)
        assert result.tasks["cities"]["baseline"][split]["f1"] == 1.0  # a city is always one, and no other word ever is
        assert result.tasks["topics"]["baseline"][split].keys() == result.tasks["topics"][split].keys() - {
            "loss",
            "by_label",
            "calibration_error",
            "nll",
        }
    assert result.tasks["mood"]["baseline"]["rule"] == "predicting the most frequent label"
    json.dumps(result.summary, allow_nan=False)


def test_a_branch_that_never_predicts_a_label_is_a_finding(run):
    result, events, rows = run
    missed = [row["label"] for row in rows["validation"] + rows["test"]].count("positive")
    said = f"validation and test: 'mood' never predicts 'positive' ({missed} rows)."
    told = [event.text for event in events if isinstance(event, Finding)]
    assert said in result.summary["findings"] and told.count(said) == 1
    assert told.count(what_helps("mood", result.tasks["mood"]["data"])) == 1
    assert not any("tasks.cities" in text for text in told), "it has no such key"
    opening = "validation and test: 'cities' is no better than always predicting the tag"
    assert len([text for text in told if "'cities' is no better" in text]) == 1
    assert any(text.startswith(opening) for text in told)
    assert json.loads((result.path / "result.json").read_text())["findings"] == result.summary["findings"]


@pytest.mark.parametrize(
    "counts", [{"labels": {"train": {"a": 80, "b": 79, "c": 80}}}, {"by_size": {"train": [9, 8]}, "labels": {"test": {"a": 1}}}]
)
def test_class_weights_are_no_help_where_no_label_is_rare(counts):
    assert "class_weights" not in what_helps("mood", counts) and "learning rate" in what_helps("mood", counts)


@pytest.mark.parametrize("counts", [{"labels": {"train": {"a": 80, "b": 40}}}, {"by_size": {"train": [90, 9, 1]}}])
def test_class_weights_may_help_where_a_label_is_rare(counts):
    assert what_helps("mood", counts).startswith("tasks.mood.class_weights=balanced gives rare labels")


def test_a_threshold_that_was_chosen_on_validation_is_told_with_the_scores_before_and_after(run):
    result, _, _ = run
    found, entry = result.tasks["topics"]["tuned"], result.summary["history"][-1]["tasks"]["topics"]
    assert found["untuned"] == pytest.approx(entry["validation"]["f1_micro"]) and found["metric"] == "f1_micro"
    assert found["tuned"] == pytest.approx(result.tasks["topics"]["validation"]["f1_micro"])
    assert found["tuned"] > found["untuned"] and "tuned" not in result.tasks["mood"]
    scores = f"f1_micro {found['untuned']:.4f} -> {found['tuned']:.4f}"
    assert f"threshold {found['threshold']:g} instead of 0.5, chosen on validation: {scores}" in repr(result)


def test_the_time_is_told_by_parts_that_add_up(run):
    cost = run[0].cost
    assert {*cost["parts"]} == {*PARTS, "other"}
    assert cost["seconds"] == pytest.approx(sum(cost["parts"].values()), abs=0.001)
    assert cost["seconds"] == run[0].summary["seconds"]
    assert all(cost["parts"][part] >= 1 for part in ("read", "load", "states", "judging", "saving"))
    looked = 1  # at what branches want to know before they are trained
    epochs = sum(epoch["seconds"] for epoch in cost["epochs"])
    assert cost["parts"]["training"] == pytest.approx(looked + epochs, abs=0.01)
