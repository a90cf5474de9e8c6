"""Branches of schema 2 (make_2.py tells which and how they were made) load, and answer the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_saved import TRUNK, make, near

from trunkline.errors import BadInput
from trunkline.model.branch import load_branch
from trunkline.model.bundle import Bundle
from trunkline.trunk.load import load_trunk

FOLDER = Path(__file__).parent / "schema_2"
ANSWERS = json.loads((FOLDER / "answers.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def trunk():
    return load_trunk(TRUNK, dtype="fp32", device="cpu")


def test_answers_are_kept_for_every_branch_and_all_are_of_schema_2():
    files = {str(path.parent.relative_to(FOLDER)): json.loads(path.read_text()) for path in FOLDER.glob("*/*/branch.json")}
    assert set(files) == set(ANSWERS) and len(files) >= 8
    assert {described["schema"] for described in files.values()} == {2}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_branch_of_schema_2_answers_as_it_did(name, trunk):
    bundle = Bundle.open(FOLDER / name, trunk=trunk)
    predictions = [row[Path(name).name] for row in bundle.predict(make.TEXTS, empty_texts="read")]
    assert near(predictions, ANSWERS[name])


def test_a_branch_of_a_later_schema_is_refused_by_its_number(tmp_path, trunk):
    for path in (FOLDER / "adalayers" / "mood").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    file = tmp_path / "branch.json"
    file.write_text(file.read_text().replace('"schema": 2', '"schema": 3'))
    with pytest.raises(BadInput, match="schema") as caught:
        load_branch(tmp_path, trunk)
    assert "3" in str(caught.value) and "\n" not in str(caught.value)
