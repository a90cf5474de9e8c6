"""`--min-confidence` of predict and evaluate, and what evaluate and info say of calibration."""

from __future__ import annotations

import json

import numpy as np
import pytest
from clitools import done, fails, made_up, write_jsonl

from trunkline.cli.answers import sentence


def test_answers_that_are_not_confident_are_marked_and_measured(trained, tmp_path):
    rows = made_up(60, seed=5)
    write_jsonl(tmp_path / "new.jsonl", rows)
    plain = [json.loads(line) for line in done("predict", trained, "-i", "new.jsonl").stdout.splitlines()]
    least = float(np.median([row["mood"]["score"] for row in plain]).round(3))
    asked = done("predict", trained, "-i", "new.jsonl", "--min-confidence", least)
    given = [json.loads(line) for line in asked.stdout.splitlines()]
    for before, after in zip(plain, given, strict=True):
        abstained = before["mood"]["score"] < least
        label = None if abstained else before["mood"]["label"]
        assert after["mood"] == {"label": label, "score": before["mood"]["score"], "abstained": abstained}
        assert len(after["city"]["spans"]) + after["city"]["left_out"] == len(before["city"]["spans"])
        assert after["topics"]["labels"] in (None, before["topics"]["labels"]) and after["score"] == before["score"]
    assert "'score' predicts numbers, which have no confidence." in asked.stderr
    kept = [answer["mood"]["label"] == row["mood"] for answer, row in zip(given, rows, strict=True) if answer["mood"]["label"]]
    told = json.loads(done("evaluate", trained, "new.jsonl", "--min-confidence", least, "--json").stdout)["tasks"]
    assert told["mood"]["metrics"]["coverage"] == pytest.approx(len(kept) / 60)
    assert told["mood"]["metrics"]["selective_accuracy"] == pytest.approx(np.mean(kept))
    assert {"calibration_error", "nll", "coverage"} <= told["city"]["metrics"].keys()
    assert told["score"]["metrics"].keys().isdisjoint({"calibration_error", "coverage"})


def test_people_are_told_of_no_answer(trained):
    shown = done("predict", trained, "--text", "the film is good", "--min-confidence", "1", "--json")
    [row] = json.loads(shown.stdout)["predictions"]
    assert row["mood"]["abstained"] is True and row["mood"]["label"] is None
    assert sentence(row["mood"]) == f"no answer ({row['mood']['score']:.0%})"
    assert sentence({"labels": None, "confidence": 0.25, "abstained": True}) == "no answer (25%)"
    assert sentence({"spans": [], "left_out": 2}) == "no spans \u00b7 2 less confident left out"
    assert sentence({"label": None, "score": None, "abstained": None}) == "(no text)"


def test_what_is_no_confidence_is_refused(trained):
    for command, more in (("predict", ("--text", "a")), ("evaluate", ())):
        said = "--min-confidence: found 1.5, expected a number from 0 to 1"
        assert fails(2, command, trained, *more, "--min-confidence", "1.5") == said
    said = fails(2, "predict", trained / "branches/score", "--text", "a", "--min-confidence", "0.5")
    assert said == "min_confidence: found only branches that predict numbers, expected one with labels"
