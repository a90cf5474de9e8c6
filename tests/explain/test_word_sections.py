"""The sections on words and on labels: their numbers, and why they are left out."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace

import pytest
from bundletools import make

from trunkline.errors import BadInput
from trunkline.explain.sections.attributions import attributions
from trunkline.explain.sections.label_errors import label_errors
from trunkline.explain.subject import Subject
from trunkline.model.attributions import attributions as told
from trunkline.model.bundle import Bundle
from trunkline.training.label_errors import COLUMNS, LabelErrors
from trunkline.trunk.load import load_trunk

TEXTS = ("a great film", "not so awful in tokyo")


@pytest.fixture(scope="module")
def bundle(tiny_trunk_dir):
    trunk = load_trunk(tiny_trunk_dir, dtype="fp32", device="cpu")
    return Bundle(trunk, {kind: make(trunk, kind) for kind in ("sequence", "token", "regression")})


def about(bundle, name, **more):
    return Subject(bundle.only(name), name, None, "data", texts=TEXTS, **more)


@pytest.mark.parametrize("name", ["sequence", "token", "regression"])
def test_pictures_and_files_have_the_attributions_of_the_texts(bundle, name):
    section, expected = attributions(about(bundle, name)), told(bundle, name, TEXTS)
    (summary,) = section.tables
    for picture, row, own in zip(section.pictures, summary.rows, expected, strict=True):
        found = dict(zip(summary.columns, row, strict=True))
        assert picture.numbers.rows == [
            *((word.text, word.start, word.end, word.value) for word in own.words), ("(special tokens)", None, None, own.others)
        ]  # fmt: skip
        assert found["picture"] == picture.numbers.name and found["explained"] == own.label
        assert found["word"] == (own.tagged.text if name == "token" else None)
        assert found["sum_of_attributions"] == pytest.approx(found["output"] - found["baseline"] + found["convergence_delta"])
    assert not section.left_out and len(section.pictures) == 2


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
