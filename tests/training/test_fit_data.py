"""What `fit` takes in Python: a config, a file, or data in memory; the same rows train the same, however they are given."""

from __future__ import annotations

import json
import random
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
import yaml
from safetensors.torch import load_file
from synthetic import config, row, write_rows

import trunkline
from trunkline.errors import BadInput
from trunkline.events import AlreadyFinished, ColumnsInterpreted, EpochEnded
from trunkline.training.config import load_config, resolve
from trunkline.training.given import config_of
from trunkline.training.overrides import override
from trunkline.training.own_test import own_test_splits
from trunkline.training.prepare import prepare
from trunkline.training.result import trained_in_memory

RANDOM = random.Random(5)
ROWS = [row(RANDOM) for _ in range(60)]
SMALL = ["training.epochs=1", "method.dim=16", "method.heads=2", "trunk.dtype=fp32", "trunk.device=cpu"]


def small(trunk):
    return [f"trunk.name={trunk}", *SMALL]


def mapping(train, trunk, **data):
    values = config(trunk, train, epochs=1)
    return {**values, "data": {**values["data"], **data, "train": train}}


@pytest.fixture
def told():
    events = []
    return events


def test_a_frame_and_a_file_of_the_same_rows_train_the_same_weights(tiny_trunk_dir, tmp_path):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in ROWS))
    file = trunkline.fit(mapping(str(tmp_path / "rows.jsonl"), tiny_trunk_dir), run_dir=tmp_path / "file", progress=False)
    frame = trunkline.fit(mapping(pd.DataFrame(ROWS), tiny_trunk_dir), run_dir=tmp_path / "frame", progress=False)
    for name in file.tasks:
        one, two = (load_file(run.branches[name] / "weights.safetensors") for run in (file, frame))
        assert all(torch.equal(one[key], two[key]) for key in one)
    assert file.tasks["mood"]["test"] == frame.tasks["mood"]["test"]
    assert trained_in_memory(frame.path) and not trained_in_memory(file.path)


def test_a_run_on_data_in_memory_is_told_by_their_digest_and_continued_by_the_same_call(tiny_trunk_dir, tmp_path):
    events = []
    options = {"run_dir": tmp_path / "run", "progress": False, "subscribers": [lambda event: events.append(type(event))]}
    first = trunkline.fit(mapping(pd.DataFrame(ROWS), tiny_trunk_dir), **options)
    kept = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["data"]["train"]
    assert kept.startswith("in memory, sha256 ") and len(kept) == len("in memory, sha256 ") + 64
    events.clear()
    shuffled = pd.DataFrame(ROWS, index=[3] * len(ROWS))[list(reversed(ROWS[0]))]  # the same columns in another order
    again = trunkline.fit(mapping(pd.DataFrame(ROWS, index=[3] * len(ROWS)), tiny_trunk_dir), **options)
    assert AlreadyFinished in events and EpochEnded not in events and again.summary == first.summary
    splits = datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS), "extra": datasets.Dataset.from_list(ROWS[:3])})
    found = trunkline.fit(mapping(splits, tiny_trunk_dir), **options)
    assert found.findings == ["data.train: its splits 'extra' are not read.", *first.findings]
    changed = [*ROWS[:-1], {**ROWS[-1], "label": "negative" if ROWS[-1]["label"] == "positive" else "positive"}]
    for other in (changed, shuffled):
        with pytest.raises(BadInput, match="contains a run with another config, other data or another trunk"):
            trunkline.fit(mapping(other, tiny_trunk_dir), **options)
    said = "this run was trained on data given in memory, which are not stored with it"
    with pytest.raises(BadInput, match=said):
        trunkline.fit(tmp_path / "run" / "config.yaml", run_dir=tmp_path / "run", progress=False)
    with pytest.raises(BadInput, match=said):
        own_test_splits(tmp_path / "run", ["mood"])


HOLDERS = {
    "frame": pd.DataFrame,
    "rows": list,
    "mapping": lambda rows: {name: [row[name] for row in rows] for name in rows[0]},
    "arrow": pa.Table.from_pylist,
    "data set": datasets.Dataset.from_list,
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_every_holder_of_data_may_stand_for_each_split(holder, tiny_trunk_dir):
    held = HOLDERS[holder]
    values = mapping(held(ROWS[:30]), tiny_trunk_dir, validation=held(ROWS[30:40]), test=held(ROWS[40:]))
    (found,) = prepare(resolve(values))
    (expected,) = prepare(resolve(mapping(ROWS[:30], tiny_trunk_dir, validation=ROWS[30:40], test=ROWS[40:])))
    assert {name: len(split.corpus) for name, split in found.splits.items()} == {"train": 30, "validation": 10, "test": 20}
    for name, split in found.splits.items():
        assert split.corpus.texts == expected.splits[name].corpus.texts
        assert all(np.array_equal(own.values, expected.splits[name].targets[key].values) for key, own in split.targets.items())
    assert "DataFrame" not in json.dumps(resolve(values).as_dict())


def test_a_task_may_have_data_in_memory_of_its_own(tiny_trunk_dir):
    values = mapping(ROWS, tiny_trunk_dir)
    values["tasks"]["cities"]["data"] = {"train": pd.DataFrame(ROWS[:20]), "text": "text"}
    first, second = prepare(resolve(values))
    assert (len(first.splits["train"].corpus), len(second.splits["train"].corpus)) == (36, 18)


def test_the_splits_of_a_data_set_are_taken_all_at_once(tiny_trunk_dir):
    splits = {"train": ROWS[:30], "validation": ROWS[30:40], "test": ROWS[40:], "unsupervised": ROWS[:3]}
    data = datasets.DatasetDict({name: datasets.Dataset.from_list(rows) for name, rows in splits.items()})
    values = mapping(data, tiny_trunk_dir)
    values["data"] = {"train": data}
    (found,) = prepare(resolve(values))
    assert {name: len(split.corpus) for name, split in found.splits.items()} == {"train": 30, "validation": 10, "test": 20}
    assert found.findings[0] == "data.train: its splits 'unsupervised' are not read."
    values["data"] = {"train": data, "test": None}
    assert "test" not in prepare(resolve(values))[0].splits
    values["data"] = {"train": datasets.DatasetDict({"dev": data["test"]})}
    with pytest.raises(BadInput, match=r"data\.train: found the splits 'dev', expected one called train"):
        resolve(values)


@pytest.mark.parametrize(
    ("split", "data", "sentence"),
    [
        (
            "train",
            {"text": ["a", "b"], "label": ["x"]},
            "data.train: found 2 values in column 'text' and 1 in 'label', expected",
        ),
        ("validation", pd.Series(["a"]), "data.validation: found Series, expected a path or a name, a DataFrame,"),
        ("test", [{"text": "a"}, 3], "data.test: found list, expected a path or a name, a DataFrame,"),
        (
            "train",
            {"text": [1, 2], "tokens": [["a"]] * 2, "tags": [["O"]] * 2, "label": ["x", "y"]},
            "data.train row 1: column 'text'",
        ),
        (
            "train",
            [{**ROWS[0], "label": {"a": 1}}, *ROWS],
            "data.train row 1: column 'label' holds an object",
        ),
    ],
)
def test_data_that_do_not_fit_are_one_sentence(split, data, sentence, tiny_trunk_dir):
    values = mapping(ROWS, tiny_trunk_dir)
    values["data"][split] = data
    with pytest.raises(BadInput) as error:
        prepare(resolve(values))
    assert str(error.value).startswith(sentence)


@pytest.mark.parametrize("given", ["path", "csv", "frame", "splits"])
def test_data_alone_are_interpreted_as_the_command_line_does(given, tiny_trunk_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = [{"review": " ".join(one["tokens"]) + f" {number}", "mood": one["label"]} for number, one in enumerate(ROWS)]
    frame = pd.DataFrame(table)
    frame.to_csv("reviews.csv", index=False)
    data = {
        "path": Path("reviews.csv"),
        "csv": "reviews.csv",
        "frame": frame,
        "splits": datasets.DatasetDict(train=datasets.Dataset.from_list(table)),
    }[given]
    events = []
    run = trunkline.fit(data, overrides=small(tiny_trunk_dir), progress=False, subscribers=[events.append])
    assert list(run.tasks) == ["mood"] and run.tasks["mood"]["kind"] == "sequence"
    assert run.path.parent == Path("runs").absolute() and run.path.name.startswith(
        "reviews-" if given in ("path", "csv") else "data-"
    )
    (sentences,) = (event.sentences for event in events if isinstance(event, ColumnsInterpreted))
    assert sentences[0].startswith("'review' is the text")


FRAME = pd.DataFrame(
    {
        "id": range(60),
        "title": [f"one of {number} titles" for number in range(60)],
        "review": [" ".join(one["tokens"]) + f" {number}" for number, one in enumerate(ROWS)],
        "label": [one["label"] for one in ROWS],
        "stars": [one["stars"] for one in ROWS],
        "code": [number % 30 for number in range(60)],
    }
)


@pytest.mark.parametrize(
    ("keywords", "text", "tasks"),
    [
        ({"text": "title"}, "title", {"label": "sequence", "stars": "sequence", "code": "regression"}),
        ({"label": "stars"}, "review", {"stars": "sequence"}),
        ({"text": "title", "label": ["label", "code"]}, "title", {"label": "sequence", "code": "regression"}),
        ({"label": "id"}, "review", {"id": "regression"}),
        ({"tasks": {"mood": {"kind": "sequence", "label": "label"}}}, "review", {"mood": "sequence"}),
        ({"text": "title", "tasks": {"n": {"kind": "regression", "target": "id"}}}, "title", {"n": "regression"}),
    ],
)
def test_keywords_say_what_a_guess_would_have_to_find(keywords, text, tasks):
    given = config_of(FRAME, **keywords)
    assert given.config.data.text == text
    found = {name: section.kind for name, section in given.config.tasks.items()}
    if "code" in found and "label" in keywords:
        assert found.keys() == tasks.keys()  # a number of many values may be either
    else:
        assert {name: found[name] for name in tasks if name != "code"} == {n: k for n, k in tasks.items() if n != "code"}


@pytest.mark.parametrize(
    ("keywords", "overrides"),
    [
        ({"missing": ["k.A.", "?!"]}, []),
        ({"missing": "k.A."}, []),
        ({"missing": {"k.A."}, "label": ["price", "mood"], "text": "text"}, []),
        ({}, ["data.missing=[k.A.]"]),
        ({}, ["data.missing=k.A."]),
    ],
)
def test_strings_that_stand_for_a_missing_value_are_known_before_the_columns_are_interpreted(keywords, overrides):
    texts = [f"{one['text']} {number}" for number, one in enumerate(ROWS)]
    prices = ["k.A." if number % 6 == 0 else f"{number / 7:.2f}" for number in range(60)]
    moods = ["k.A." if number % 5 == 0 else one["label"] for number, one in enumerate(ROWS)]
    frame = pd.DataFrame({"text": texts, "price": prices, "mood": moods})
    given = config_of(frame, overrides, **keywords)
    assert {name: section.kind for name, section in given.config.tasks.items()} == {"price": "regression", "mood": "sequence"}
    assert "k.A." in given.config.data.missing and any("10 of 60 rows" in said for said in given.sentences)
    (found,) = prepare(given.config)
    assert found.tasks["mood"].labels == ["negative", "positive"]
    present = [sum(int(split.targets[name].present.sum()) for split in found.splits.values()) for name in ("price", "mood")]
    assert present == [50, 48]
    assert "price" not in config_of(frame).config.tasks and "k.A." in prepare(config_of(frame).config)[0].tasks["mood"].labels


def test_validation_and_test_may_be_data_too():
    given = config_of(FRAME[:30], validation=FRAME[30:40], test=FRAME[40:], label="label")
    (found,) = prepare(given.config)
    assert {name: len(split.corpus) for name, split in found.splits.items()} == {"train": 30, "validation": 10, "test": 20}
    assert config_of(FRAME, validation="25%", label="label").config.data.validation == 0.25
    assert config_of(FRAME, ["data.text=title", "training.epochs=3"], label="label").config.data.text == "title"


def test_a_test_split_whose_labels_are_kept_back_is_left_out_and_said():
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    texts = [f"{one['text']} {number}" for number, one in enumerate(ROWS)]
    labels = [int(one["label"] == "positive") for one in ROWS]
    make = datasets.Dataset.from_dict
    data = datasets.DatasetDict(
        train=make({"text": texts, "label": labels}, features=features),
        validation=make({"text": texts[:9], "label": labels[:9]}, features=features),
        test=make({"text": texts[:7], "label": [-1] * 7}, features=features),
    )
    given = config_of(data)
    assert "The test split has no labels, so it is not scored." in given.sentences
    assert prepare(given.config)[0].splits.keys() == {"train", "validation"}


@pytest.mark.parametrize(
    ("given", "keywords", "sentence"),
    [
        (3, {}, "fit: found int, expected a YAML file, its mapping, or data: "),
        (None, {}, "fit: found NoneType, expected a YAML file, its mapping, or data: "),
        ([["a"]], {}, "fit: found list, expected a YAML file, its mapping, or data: "),
        (pd.Series(["a"]), {}, "fit: found Series, expected a YAML file, its mapping, or data: "),
        (torch.ones(2), {}, "fit: found Tensor, expected a YAML file, its mapping, or data: "),
        ({"text": ["a"], "label": "x"}, {}, "data.train: column 'label': found str, expected a list"),
        (
            {"data": {"trian": "snips", "train": "a"}, "tasks": {"a": {}}},
            {},
            "config: data.trian: unknown name 'trian'; did you",
        ),
        ("nosuch.csv", {}, "nosuch.csv: no such file"),
        ("nosuch.yaml", {}, "nosuch.yaml: no such file"),
        (FRAME, {"text": "reviw"}, "data.train: column for text: unknown name 'reviw'; did you mean 'review'?"),
        (FRAME, {"label": "lable"}, "data.train: column for label: unknown name 'lable'; did you mean 'label'?"),
        (FRAME, {"label": "label", "tasks": {}}, "label: given together with tasks, expected one of them"),
        (FRAME, {"text": "review", "label": "review"}, "label: found 'review', which is the column of the texts"),
        (
            {"data": {"train": "snips"}},
            {"text": "a"},
            "text: given together with a config; expected only with data, as a config",
        ),
        (
            {"data": {"train": "snips"}},
            {"label": "a", "validation": 0.1, "test": 0.1},
            "label, validation and test: given together with a config; expected only with data",
        ),
        (FRAME, {"missing": 3}, "missing: expected a string or a list of strings that stand for a missing value"),
        (FRAME, {"missing": [None]}, "missing: expected a string or a list of strings that stand for a missing value"),
        ({"data": {"train": "snips"}}, {"missing": ["nan"]}, "missing: given together with a config; expected only with data"),
        (FRAME[["id"]], {}, "data.train: found no column that looks like texts"),
    ],
)
def test_what_fit_cannot_use_is_one_sentence(given, keywords, sentence):
    with pytest.raises(BadInput) as error:
        trunkline.fit(given, progress=False, **keywords)
    assert str(error.value).startswith(sentence) and "\n" not in str(error.value)


def test_overrides_hold_for_a_mapping_too_and_leave_it_as_it_is(tiny_trunk_dir):
    values = mapping(FRAME, tiny_trunk_dir)
    found = config_of(values, ["training.epochs=7"]).config
    assert found.training.epochs == 7 and values["training"]["epochs"] == 1
    assert override(values, ["method.dim=8"])["data"]["train"] is FRAME
    with pytest.raises(BadInput, match="overrides: given together with a resolved config"):
        config_of(found, ["training.epochs=7"])


def test_progress_is_shown_unless_told_not_to(tiny_trunk_dir, tmp_path, capfd):
    rows = write_rows(tmp_path / "rows.jsonl", 40)
    values = config(tiny_trunk_dir, rows, tasks=("mood",), epochs=1)
    trunkline.fit(values, run_dir=tmp_path / "quiet", progress=False)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
    result = trunkline.fit(values, run_dir=tmp_path / "shown")
    captured = capfd.readouterr()
    assert captured.out == "" and "epoch 1/1" in captured.err and "\x1b" not in captured.err  # no terminal: plain lines
    shown = repr(result).splitlines()
    assert shown[0].startswith(f"RunResult({str(tmp_path / 'shown')!r}), ") and shown[0].endswith(" s")
    metrics, least = result.tasks["mood"], result.tasks["mood"]["baseline"]
    scores = [
        f"{split} {metrics[split]['accuracy']:.4f} (baseline {least[split]['accuracy']:.4f})"
        for split in ("validation", "test")
    ]
    assert shown[1:] == [
        f"  mood  accuracy  {'  '.join(scores)}",
        *(f"  note: {finding}" for finding in result.findings),
        f"  to predict: trunkline.Bundle.open({str(tmp_path / 'shown')!r})",
    ]
    trunkline.fit(tmp_path / "shown" / "config.yaml", run_dir=tmp_path / "shown")
    assert "epoch" not in capfd.readouterr().err


def test_a_config_that_was_saved_is_the_same_config(tiny_trunk_dir, tmp_path):
    resolved = resolve(mapping(FRAME, tiny_trunk_dir))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(resolved.as_dict()))
    assert load_config(tmp_path / "config.yaml").identity() == resolved.identity()
