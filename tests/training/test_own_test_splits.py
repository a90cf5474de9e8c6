"""The test split that a run has drawn is found again, also by later versions, which number some labels in another order."""

from __future__ import annotations

import json

import pytest
import yaml

from trunkline.errors import BadInput
from trunkline.training.config import resolve
from trunkline.training.own_test import own_test_splits
from trunkline.training.prepare import prepare, split_digest

NUMBERS = list(range(2, 14))


@pytest.mark.parametrize("empty", [False, True])
def test_a_run_that_sorted_whole_numbers_as_strings_keeps_its_test_split(empty, tmp_path):
    rows = [{"text": f"text {i}", "stars": NUMBERS[i % 12], "topics": [NUMBERS[i % 12], 2]} for i in range(120)]
    rows[5]["text"] = "" if empty else rows[5]["text"]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    values = {
        "data": {"train": str(tmp_path / "rows.jsonl"), "validation": "20%", "test": "20%"},
        "tasks": {"stars": {"kind": "sequence", "label": "stars"}, "topics": {"kind": "multilabel", "labels": "topics"}},
        "method": "probe",
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(resolve(values).as_dict()))
    assert prepare(resolve(values))[0].tasks["stars"].labels == list(map(str, NUMBERS))
    tasks = {name: {**task, "label_list": sorted(map(str, NUMBERS))} for name, task in values["tasks"].items()}
    (before,) = prepare(resolve({**values, "tasks": tasks}), keep_empty=empty)
    assert before.tasks["stars"].labels[:2] == ["10", "11"]
    result = {
        "identity": "x", "trunk": {}, "tasks": {}, "cost": {},
        "rows": {name: len(split.corpus) for name, split in before.splits.items()},
        "digests": {name: split_digest(split) for name, split in before.splits.items()},
    }  # fmt: skip
    (tmp_path / "result.json").write_text(json.dumps(result))
    (found,) = own_test_splits(tmp_path, ["stars", "topics"])
    assert found.table is not None and found.table.columns["text"] == before.splits["test"].corpus.texts
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[::-1]))
    with pytest.raises(BadInput, match="its data has changed"):
        own_test_splits(tmp_path, ["stars", "topics"])
