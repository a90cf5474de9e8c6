"""Rows that are set aside are those of a drawn test split, seen by nothing: the rest of the run is the same to the bit."""

from __future__ import annotations

import pytest
from synthetic import config, write_rows

from trunkline.errors import BadInput
from trunkline.training.config import resolve
from trunkline.training.fit import fit
from trunkline.training.prepare import prepare


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", 120)


def texts(values) -> dict[str, list[str]]:
    [group] = prepare(resolve(values))
    return {name: split.corpus.texts for name, split in group.splits.items()}


def test_the_other_splits_are_those_beside_a_test_split(tiny_trunk_dir, rows):
    values = config(tiny_trunk_dir, rows)
    whole = texts(values)
    values["data"] |= {"test": None, "set_aside": "20%"}
    assert texts(values) == {name: whole[name] for name in ("train", "validation")}
    values["data"]["set_aside"] = None
    assert len(texts(values)["train"]) == len(whole["train"]) + len(whole["test"])


def test_a_run_scores_the_same_and_has_no_test_scores(tiny_trunk_dir, rows, tmp_path):
    values = config(tiny_trunk_dir, rows, tasks=("mood",), epochs=2)
    whole = fit(values, run_dir=tmp_path / "whole", progress=False)
    values["data"] |= {"test": None, "set_aside": 0.2}
    apart = fit(values, run_dir=tmp_path / "apart", progress=False)
    assert apart.summary["history"] == whole.summary["history"]
    for name, task in apart.tasks.items():
        assert task["validation"] == whole.tasks[name]["validation"] and "test" not in task
    assert set(apart.summary["digests"]) == {"train", "validation"}
    assert not list((tmp_path / "apart").glob("answers/*"))


def test_a_run_without_it_keeps_its_identity(tiny_trunk_dir, rows):
    values = config(tiny_trunk_dir, rows)
    before = resolve(values)
    values["data"]["set_aside"] = None
    assert resolve(values).identity() == before.identity()
    values["data"] |= {"test": None, "set_aside": 0.2}
    assert resolve(values).identity() != before.identity()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"set_aside": "20%"}, "give set_aside or a share as test, not both"),
        (
            {"set_aside": "80%", "test": None},
            "found shares of 0.2 and 0.8 for validation and set_aside, expected a sum below 1",
        ),
        ({"set_aside": "120%", "test": None}, "a share must lie between 0% and 100%"),
        ({"set_aside": "rows.jsonl", "test": None}, "expected a share such as 10%"),
    ],
)
def test_bad_shares_are_refused(data, sentence, tiny_trunk_dir, rows):
    values = config(tiny_trunk_dir, rows)
    values["data"] |= data
    with pytest.raises(BadInput, match=sentence):
        resolve(values)
