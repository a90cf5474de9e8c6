"""Labels renamed on disk: the same answers under other names, and nothing else is touched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from clitools import done, fails
from mutations import resave

from trunkline.errors import BadInput
from trunkline.model.branch import load_branch
from trunkline.model.bundle import Bundle
from trunkline.model.relabel import relabel
from trunkline.trunk.load import load_trunk

SAVED = Path(__file__).parents[1] / "saved"
TEXTS = ["the film was great", "a bad list of rain in tokyo for you", "add music to paris table"]


@pytest.fixture(scope="module")
def trunk():
    return load_trunk(SAVED / "trunk", dtype="fp32", device="cpu")


@pytest.mark.parametrize("schema", [1, 2])
@pytest.mark.parametrize(
    ("name", "names", "labels"),
    [
        ("adalayers/branches/mood", {"negative": "positive", "positive": "negative"}, ["positive", "negative"]),
        ("adalayers/branches/cities", {"city": "town"}, ["O", "B-town", "I-town"]),
        ("adalayers/branches/topics", {"film": "cinema"}, ["cinema", "music", "table"]),
        ("lora/branches/mood", {"negative": "- [/b]"}, ["- [/b]", "positive"]),
    ],
)
def test_a_branch_answers_the_same_under_other_names(schema, name, names, labels, trunk, tmp_path):
    path = tmp_path / "branch"
    shutil.copytree(SAVED / "runs" / name, path)
    if schema == 2:
        resave(path, json.loads((path / "branch.json").read_text()))
    before = json.dumps(Bundle.open(path, trunk=trunk).predict(TEXTS))
    relabel(path, names)
    assert load_branch(path, trunk).task.labels == labels
    after = Bundle.open(path, trunk=trunk).predict(TEXTS)
    back = {new: old for old, new in names.items()}

    def turned(value):
        if isinstance(value, dict):
            return {back.get(key, key): turned(inner) for key, inner in value.items()}
        return (
            [turned(one) for one in value]
            if isinstance(value, list)
            else back.get(value, value)
            if isinstance(value, str)
            else value
        )

    assert turned(after) == json.loads(before)
    assert {file.name for file in tmp_path.iterdir()} == {"branch"}


def test_the_positive_label_is_renamed_too(tmp_path, trunk):
    path = tmp_path / "branch"
    shutil.copytree(SAVED / "runs" / "adalayers/branches/mood", path)
    described = json.loads((path / "branch.json").read_text())
    described["task"]["config"]["positive"] = "negative"
    described["task"]["learned"] |= {"positive": 0, "counts": [3, 5]}
    resave(path, described)
    relabel(path, {"negative": "bad"})
    task = load_branch(path, trunk).task
    assert (task.positive, task.config.positive, task.labels) == ("bad", "bad", ["bad", "positive"])


def test_labels_are_renamed_in_the_scores_too(tmp_path):
    shutil.copytree(SAVED / "runs" / "adalayers" / "branches" / "mood", tmp_path / "mood")
    described = json.loads((tmp_path / "mood" / "branch.json").read_text())
    scores = {"confusion": {"negative": {"negative": 3, "positive": 1}}, "by_label": {"negative": {"f1": 0.5}}}
    resave(tmp_path / "mood", {**described, "metrics": {"test": scores}})
    relabel(tmp_path / "mood", {"negative": "bad"})
    found = json.loads((tmp_path / "mood" / "branch.json").read_text())["metrics"]["test"]
    assert found == {"confusion": {"bad": {"bad": 3, "positive": 1}}, "by_label": {"bad": {"f1": 0.5}}}


def test_what_cannot_be_renamed_is_refused_and_left_alone(tmp_path):
    for name in ("mood", "stars"):
        shutil.copytree(SAVED / "runs" / "adalayers" / "branches" / name, tmp_path / name)
    before = (tmp_path / "mood" / "branch.json").read_bytes()
    for names, sentence in (
        ({"happy": "x"}, "found the label 'happy'"),
        ({"negative": "positive"}, "two labels would be called 'positive'"),
        ({"negative": "a\x1b[1m"}, "expected a name of printable characters"),
        ({"negative": " "}, "expected a name of printable characters"),
    ):
        with pytest.raises(BadInput, match=sentence):
            relabel(tmp_path / "mood", names)
    with pytest.raises(BadInput, match="has no labels"):
        relabel(tmp_path / "stars", {"value": "x"})
    (tmp_path / "mood" / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match=r"notes\.txt"):
        relabel(tmp_path / "mood", {"negative": "x"})
    assert (tmp_path / "mood" / "branch.json").read_bytes() == before and (tmp_path / "mood" / "notes.txt").exists()


def test_the_command_renames_and_says_so(tmp_path):
    path = tmp_path / "mood"
    shutil.copytree(SAVED / "runs" / "adalayers" / "branches" / "mood", path)
    assert json.loads(done("relabel", path, "negative=[/b]", "--json").stdout)["labels"] == ["[/b]", "positive"]
    shown = done("info", path).stdout
    assert "[/b], positive" in shown
    assert "expected an old and a new name" in fails(2, "relabel", path, "negative")


def test_a_run_is_told_from_its_branches(tmp_path):
    run = tmp_path / "run"
    shutil.copytree(SAVED / "runs" / "adalayers", run)
    expected = f"{run}: a run; expected one of its branches, such as {run / 'branches' / 'cities'}"
    assert fails(2, "relabel", run, "negative=bad") == expected


def test_numbers_that_get_names_come_back_as_these(tmp_path, trunk):
    shutil.copytree(SAVED / "runs" / "adalayers/branches/mood", tmp_path / "branch")
    relabel(tmp_path / "branch", {"negative": "0", "positive": "1"})
    described = json.loads((tmp_path / "branch" / "branch.json").read_text())
    described["task"]["label_type"] = "int"
    resave(tmp_path / "branch", described)
    assert load_branch(tmp_path / "branch", trunk).task.classes == [0, 1]
    assert Bundle.open(tmp_path / "branch", trunk=trunk).predict(TEXTS[0])["mood"]["label"] in (0, 1)
    assert relabel(tmp_path / "branch", {"0": "2"}) == ["2", "1"]
    assert load_branch(tmp_path / "branch", trunk).task.classes == [2, 1]
    relabel(tmp_path / "branch", {"1": "good"})
    assert load_branch(tmp_path / "branch", trunk).task.classes == ["2", "good"]
