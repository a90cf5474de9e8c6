"""The sections on words and on labels: their numbers, and why they are left out."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace

import pytest
from bundletools import make
from tasktools import corpus_of

from trunkline.data.corpus import build_corpus
from trunkline.data.table import Table
from trunkline.errors import BadInput
from trunkline.explain.rows import judged
from trunkline.explain.sections.attributions import attributions
from trunkline.explain.sections.label_errors import label_errors
from trunkline.explain.subject import Subject
from trunkline.model.attributions import attributions as told
from trunkline.model.bundle import Bundle
from trunkline.tasks.labels import Reading
from trunkline.training.label_errors import COLUMNS, LabelErrors
from trunkline.trunk.load import load_trunk

TEXTS = ("a great film", "not so awful in tokyo")
FEW = 6  # steps of the integral


@pytest.fixture(scope="module")
def bundle(tiny_trunk_dir):
    trunk = load_trunk(tiny_trunk_dir, dtype="fp32", device="cpu")
    return Bundle(trunk, {kind: make(trunk, kind) for kind in ("sequence", "token", "regression")})


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    """How exact attributions are has tests of its own."""
    monkeypatch.setattr("trunkline.model.attributions.STEPS", FEW)


def about(bundle, name, **more):
    return Subject(bundle.only(name), name, None, "data", texts=TEXTS, **more)


def drawn_of(bundle, name, corpus):
    """A subject whose texts are drawn of labelled rows."""
    targets = bundle.branches[name].task.targets(corpus, Reading(True, {}))
    return Subject(bundle, name, judged(bundle, "rows", corpus, {name: targets})[name], "data")


@pytest.mark.parametrize("name", ["sequence", "token", "regression"])
def test_pictures_and_files_have_the_attributions_of_the_texts(bundle, name):
    section, expected = attributions(about(bundle, name)), told(bundle, name, TEXTS, steps=FEW)
    (summary,) = section.tables
    for picture, row, own in zip(section.pictures, summary.rows, expected, strict=True):
        found = dict(zip(summary.columns, row, strict=True))
        assert picture.numbers.rows == [
            *((word.text, word.start, word.end, word.value) for word in own.words), ("(special tokens)", None, None, own.others)
        ]  # fmt: skip
        assert found["picture"] == picture.numbers.name and found["explained"] == own.label
        assert found.get("word") == (own.tagged.text if name == "token" else None) and "right" not in found
        answer = bundle.predict(own.text)[name]
        if name == "token":
            assert (found["predicted"], picture.numbers.caption) == (own.predicted, f"predicted: {own.predicted}.")
        elif name == "sequence":
            assert (found["predicted"], found["confidence"]) == (answer["label"], pytest.approx(answer["score"]))
        else:
            assert float(found["predicted"]) == pytest.approx(answer["value"], rel=1e-4) and "confidence" not in found
        assert found["sum_of_attributions"] == pytest.approx(found["output"] - found["baseline"] + found["convergence_delta"])
    assert not section.left_out and len(section.pictures) == 2


def test_rows_that_fit_into_one_window_are_drawn_and_others_left_out(bundle, monkeypatch):
    """Of the eight rows two fit; where three are drawn, one has no attributions, which is said."""
    joint = Bundle(bundle.trunk, {"moods": make(bundle.trunk, "sequence", max_length=12, long_texts="mean")})
    task, long = joint.branches["moods"].task, "so good " * 20
    corpus = corpus_of(text=["", "a film", *[long] * 4, "not awful", long], label=[None, "b", *"abca", "z", "b"])
    subject = drawn_of(joint, "moods", corpus)
    monkeypatch.setattr("trunkline.explain.drawing.TEXTS", 2)
    section = attributions(subject)
    (summary,) = section.tables
    answers = joint.predict(["a film", "not awful"])
    assert [row[1:6] for row in summary.rows] == [
        [f"line {line}", answer["moods"]["label"], answer["moods"]["label"], pytest.approx(answer["moods"]["score"]), right]
        for line, answer, right in zip((2, 7), answers, "bz", strict=True)
    ]
    assert summary.columns[1:6] == ["row", "explained", "predicted", "confidence", "right"] and task.long_texts == "mean"
    sure = answers[1]["moods"]
    assert (
        section.pictures[1].numbers.caption == f"Line 7: predicted: {sure['label']} (confidence {sure['score']:.2f}); right: z."
    )
    assert section.pictures[1].figure.axes[0].get_title() == f"{sure['label']}: attributions of words (right: z)"
    monkeypatch.setattr("trunkline.explain.drawing.TEXTS", 3)
    said = []
    section = attributions(replace(subject, say=said.append))
    left = "1 of 3 texts is left out; text "
    assert len(section.pictures) == 2 and len(said) == 1 and said[0].startswith(f"moods: attributions of words: {left}")
    assert left in section.note and "reads all windows of a long text (long_texts: mean)" in section.note
    section = attributions(replace(subject, texts=(long,), say=said.append))
    assert section.left_out and section.note.startswith("1 of 1 text is left out; text 1: branch 'moods' reads") and said[1:]


def test_texts_with_a_predicted_entity_are_drawn_and_its_word_has_its_tags(bundle, monkeypatch):
    own = Bundle(bundle.trunk, {"tags": make(bundle.trunk, "token", seed=2)})
    words = [line.split() for line in ("the film was good", "table bad the list", "bad table list the")]
    table = Table("rows.jsonl", {"words": words, "tags": [["O", "B-x", "I-x", "B-y"]] * 3}, [1, 2, 3])
    corpus = build_corpus(table, text=None, tokens="words")
    monkeypatch.setattr("trunkline.explain.drawing.TEXTS", 1)
    subject = drawn_of(own, "tags", corpus)
    tags = [subject.rows.decoded.values[4 * row : 4 * row + 4] for row in range(3)]
    assert [row for row in range(3) if tags[row].any()] == [0]
    (summary,) = attributions(subject).tables
    found = dict(zip(summary.columns, summary.rows[0], strict=True))
    word = words[0].index(found["word"])
    predicted = own.branches["tags"].task.labels[tags[0][word]]
    assert found["row"] == "line 1" and found["predicted"] == predicted
    assert found["explained"][1:] == predicted[1:]  # its logit may be that of I-, where a span begins that is written as B-
    assert found["right"] == table.columns["tags"][0][word]
    assert found["confidence"] == pytest.approx(subject.rows.decoded.scores[word])


def test_without_captum_it_is_left_out(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    section = attributions(about(bundle, "sequence"))
    assert section.left_out and section.note == "token attributions need captum: pip install 'trunkline[explain]'"


def test_label_errors_are_looked_for_where_they_are_asked_for(bundle, tmp_path, monkeypatch):
    subject, asked = about(bundle, "sequence"), []
    assert "--label-errors" in label_errors(subject).note
    assert label_errors(about(bundle, "regression", label_errors=True)).note == "a regression task has no labels to doubt"
    subject = replace(subject, label_errors=True)
    assert "does not lie in its run" in label_errors(subject).note
    row = dict.fromkeys(COLUMNS) | {"task": "t", "rank": 1, "line": 7, "text": "good", "given": "a", "suggested": "b"}
    rows = [
        row | {"given_confidence": 0.125, "suspected": True},
        row | {"rank": 2, "given_confidence": 0.5, "suspected": False},
    ]

    def found(run, *, tasks, publish, say):
        asked.append((run, tasks))
        say("fold 1 of 5")
        return LabelErrors(rows, ["t: 1 of 2 rows is suspected to have a wrong label."])

    monkeypatch.setattr(importlib.import_module("trunkline.explain.sections.label_errors"), "find_label_errors", found)
    section = label_errors(replace(subject, run=tmp_path))
    ranked, changed = section.tables
    assert asked == [(tmp_path, ["t"])] and "t: 1 of 2 rows is suspected" in section.note
    assert list(ranked.columns) == ["rank", "line", "text", "given", "suggested", "given_confidence", "suspected"]
    assert ranked.rows == [[1, 7, "good", "a", "b", 0.125, "true"], [2, 7, "good", "a", "b", 0.5, "false"]]
    assert [list(row) for row in changed.rows] == [["a", "b", 1]]

    def fails(*_, **__):
        raise BadInput("rows.csv: no such file")

    monkeypatch.setattr(importlib.import_module("trunkline.explain.sections.label_errors"), "find_label_errors", fails)
    said = []
    section = label_errors(replace(subject, run=tmp_path, say=said.append))
    assert section.left_out and said == ["t: no label errors were looked for: rows.csv: no such file"]
