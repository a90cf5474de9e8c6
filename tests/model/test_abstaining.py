"""Answers that are less confident than asked for: none is given, told apart from a blank text, in Python and in every file."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from everykind import TEXTS, bundle_of_every_kind

from trunkline.data.sources import read_table
from trunkline.data.table import Table
from trunkline.data.values.predictions import holds_predictions, main_parts
from trunkline.data.writing import output_format
from trunkline.errors import BadInput
from trunkline.model.rows import OutputNames, merged, writing
from trunkline.model.tables import Noticed, predict_table


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    made = bundle_of_every_kind(tmp_path_factory.mktemp("trunk") / "tiny-bert")
    made.branches["topics"].task.learned.threshold = 0.9  # so that some labels are predicted and others are not
    return made


def middle(bundle, name: str) -> float:
    """A confidence that some answers of a branch have and others have not."""
    answers = [answer[name] for answer in bundle.predict(TEXTS, min_confidence=0.0)]
    found = [s["score"] for a in answers for s in a.get("spans", [])] or [a.get("confidence", a.get("score")) for a in answers]
    return float(np.sort(found)[len(found) // 2])


@pytest.mark.parametrize("name", ["mood", "flag", "topics", "columns"])
def test_a_text_whose_answer_is_not_confident_has_none(bundle, name):
    least, own = middle(bundle, name), bundle.only(name)
    main = bundle.branches[name].task.parts[0]
    assert name != "topics" or {len(answer[name]["labels"]) for answer in own.predict(TEXTS)} > {2}
    abstained = 0
    for answer, asked in zip(own.predict(TEXTS), own.predict(TEXTS, min_confidence=least), strict=True):
        answer, asked = answer[name], asked[name]
        if main == "labels":
            held = [score if label in answer["labels"] else 1 - score for label, score in answer["scores"].items()]
            assert asked["confidence"] == pytest.approx(np.prod(held))
        confidence = asked.get("confidence", asked.get("score"))
        assert asked["scores"] == answer["scores"] and asked["abstained"] == (np.float32(confidence) < np.float32(least))
        assert asked[main] == (None if asked["abstained"] else answer[main])
        abstained += asked["abstained"]
    assert 0 < abstained < len(TEXTS)
    assert own.predict("", min_confidence=least)[name]["abstained"] is None
    assert not any(answer[name]["abstained"] for answer in own.predict(TEXTS, min_confidence=0))


@pytest.mark.parametrize("name", ["slots", "chained"])
def test_spans_that_are_not_confident_are_left_out_and_counted(bundle, name):
    least, own = middle(bundle, name), bundle.only(name)
    lost = 0
    for answer, asked in zip(own.predict(TEXTS), own.predict(TEXTS, min_confidence=least), strict=True):
        kept = [span for span in answer[name]["spans"] if np.float32(span["score"]) >= np.float32(least)]
        assert asked[name] == {"spans": kept, "left_out": len(answer[name]["spans"]) - len(kept)}
        lost += asked[name]["left_out"]
    assert lost
    assert own.predict("", min_confidence=least)[name] == {"spans": None, "left_out": None}
    words = [text.split() for text in TEXTS]
    for row, answer in zip(words, own.predict(words, min_confidence=1.0), strict=True):
        assert answer[name]["tags"] == ["O"] * len(row)


def test_a_number_is_predicted_as_always(bundle):
    asked, plain = bundle.predict(TEXTS, min_confidence=1.0), bundle.predict(TEXTS)
    assert [answer["stars"] for answer in asked] == [answer["stars"] for answer in plain]
    for method in (bundle.only("stars").predict, lambda texts, **more: bundle.only("stars").score(texts, [1.0] * 4, **more)):
        with pytest.raises(
            BadInput, match="min_confidence: found only branches that predict numbers, expected one with labels"
        ):
            method(TEXTS, min_confidence=0.5)
    noticed = Noticed()
    predict_table(bundle, Table("x", {"text": TEXTS}), min_confidence=0.5, noticed=noticed)
    assert noticed.sentences() == ["'stars' predicts numbers, which have no confidence."]


@pytest.mark.parametrize("value", [-0.1, 1.5, "0.5", True, float("nan"), [0.5]])
def test_what_is_no_confidence_is_refused(bundle, value):
    for ask in (bundle.predict, lambda texts, **more: bundle.score(texts, {"mood": ["a"] * 4}, **more)):
        with pytest.raises(BadInput, match=r"^min_confidence: found .*, expected a number from 0 to 1$"):
            ask(TEXTS, min_confidence=value)


def test_coverage_and_accuracy_are_counted(bundle):
    mood, least = bundle.only("mood"), middle(bundle, "mood")
    right = ["a", "b", "c", "a"]
    found = mood.score(TEXTS, right, min_confidence=least)
    answers = [answer["mood"]["label"] for answer in mood.predict(TEXTS, min_confidence=least)]
    given = [one == label for one, label in zip(answers, right, strict=True) if one is not None]
    assert found["coverage"] == len(given) / 4 and found["selective_accuracy"] == np.mean(given)
    assert mood.score(TEXTS, right, min_confidence=1)["selective_accuracy"] is None
    assert "coverage" not in mood.score(TEXTS, right)


def written(bundle, form: str, least: float, folder: Path) -> Path:
    rows = predict_table(bundle, Table("x", {"text": [*TEXTS, ""]}), min_confidence=least)
    path = folder / f"a.{form}"
    chosen = output_format(path, form)
    with path.open("wb") as file, writing(file, chosen, OutputNames(chosen.form.flat)) as write:
        write(rows)
    return path


def test_every_output_tells_no_answer_from_no_text(bundle, tmp_path):
    own = bundle.only(["mood", "topics", "slots"])
    least = middle(bundle, "mood")
    rows = [merged(row) for row in predict_table(own, Table("x", {"text": [*TEXTS, ""]}), min_confidence=least)]
    assert {row["mood"]["abstained"] for row in rows[:-1]} == {True, False}
    assert rows[-1]["mood"] == {"label": None, "score": None, "abstained": None}
    assert rows[-1]["topics"] == {"labels": None, "confidence": None, "abstained": None}
    lines = [json.loads(line) for line in written(own, "jsonl", least, tmp_path).read_text().splitlines()]
    assert lines == rows
    cells = list(csv.DictReader(io.StringIO(written(own, "csv", least, tmp_path).read_text())))
    words = {True: "True", False: "False", None: ""}
    assert [cell["mood.abstained"] for cell in cells] == [words[row["mood"]["abstained"]] for row in rows]
    assert [cell["mood"] for cell in cells] == [row["mood"]["label"] or "" for row in rows]
    assert [cell["slots.left_out"] for cell in cells] == [str(row["slots"]["left_out"]) for row in rows[:-1]] + [""]
    kept = pq.read_table(written(own, "parquet", least, tmp_path))
    assert [str(kept.schema.field(name).type) for name in ("mood.abstained", "slots.left_out", "topics.confidence")] == [
        "bool",
        "int64",
        "double",
    ]
    assert kept["mood.abstained"].to_pylist() == [row["mood"]["abstained"] for row in rows]


def test_answers_and_no_answers_are_known_as_predictions_when_they_are_read_again(bundle, tmp_path):
    own = bundle.only(["mood", "slots"])
    for form in ("jsonl", "csv"):
        table = read_table(str(written(own, form, middle(bundle, "mood"), tmp_path)))
        assert holds_predictions("mood", table.columns) and holds_predictions("slots", table.columns)
    assert main_parts([{"label": None, "score": 0.4, "abstained": True}, {"spans": [], "left_out": 2}]) == [None, []]
