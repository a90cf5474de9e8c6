"""Errors with their texts: those that the answers of runs have, and a sentence where the texts cannot be read any more."""

from __future__ import annotations

import json

import numpy as np
import pytest
from studyfolder import study_folder

from trunkline.studies.report.examples import SHOWN, Texts
from trunkline.studies.report.results import read_results
from trunkline.training.answered import load_answers


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("study")
    study_folder(made)
    return made


def errors(folder, task):
    results = read_results(folder)
    cell = results.shown(task)
    assert cell.method == "adalayers"
    return Texts(folder).errors(results, task, cell, 1)


def lines(folder, name="test"):
    return [json.loads(line) for line in (folder / "data" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def test_wrong_texts_are_shown_with_what_is_right_and_what_was_said(folder):
    rows = lines(folder)
    own, other = (load_answers(folder / "runs" / method, "intent") for method in ("adalayers", "probe"))
    wrong = np.flatnonzero(own.true != own.predicted)
    found = errors(folder, "intent")
    hardest, drawn = found.tables
    assert f"answers {len(wrong)} of {len(rows)} texts wrong." in found.note
    assert hardest.columns == ("row", "text", "right", "answer of adalayers", "others wrong")
    for table in (hardest, drawn):
        assert len(table.rows) == min(SHOWN, len(wrong))
        for row in table.rows:
            place = int(row[0].removeprefix("line ")) - 1
            assert place in wrong
            assert row[1:3] == (rows[place]["text"], rows[place]["intent"]) and row[3] == own.labels[own.predicted[place]]
    missed = [int((other.true != other.predicted)[int(row[0].removeprefix("line ")) - 1]) for row in hardest.rows]
    assert [row[4] for row in hardest.rows] == [f"{count} of 1" for count in missed]
    assert missed == sorted(missed, reverse=True) and sum(missed) == min(SHOWN, (other.true != other.predicted)[wrong].sum())
    assert [row[0] for row in drawn.rows] == sorted((row[0] for row in drawn.rows), key=lambda where: int(where[5:]))


def test_spans_are_told_with_their_words(folder):
    rows, own = lines(folder), load_answers(folder / "runs/adalayers", "slots")
    hardest, _ = errors(folder, "slots").tables
    for where, text, right, answer, *_ in hardest.rows:
        number = int(where.removeprefix("line ")) - 1
        place = rows[number]["tokens"][3]
        assert text == rows[number]["text"] and f"{place} [place] 11-{11 + len(place)}" in right and "noon [time]" in right
        units = slice(own.offsets[number], own.offsets[number + 1])
        assert (own.true[units] != own.predicted[units]).any() and answer != right


def test_texts_that_changed_or_are_gone_are_not_shown(tmp_path):
    study_folder(tmp_path)
    test = tmp_path / "data/test.jsonl"
    before = test.read_text(encoding="utf-8")
    test.write_text(before.replace("wake", "woke"), encoding="utf-8")
    found = errors(tmp_path, "intent")
    assert not found.tables and found.note.endswith("the test data have changed since it was trained")
    test.write_text(before.splitlines()[0] + "\n", encoding="utf-8")
    assert "have changed" in errors(tmp_path, "intent").note
    test.unlink()
    assert "the texts cannot be shown" in (note := errors(tmp_path, "intent").note) and "test.jsonl" in note
    test.write_text(before, encoding="utf-8")
    assert errors(tmp_path, "intent").tables
    (tmp_path / "runs/probe/answers/intent.safetensors").write_bytes(b"x")
    (only,) = errors(tmp_path, "intent").tables  # without what the others got wrong
    assert only.name == "errors_1"
    (tmp_path / "runs/adalayers/answers/intent.safetensors").unlink()
    assert "no such file; expected the answers of a run" in errors(tmp_path, "intent").note
    (tmp_path / "runs/adalayers/config.yaml").unlink()
    assert not errors(tmp_path, "slots").tables
