"""What `fit` says of a frame: of many columns of 0 and 1, of numbers as classes, of rows by their index, of what is alike."""

from __future__ import annotations

import random

import numpy as np
import pandas as pd
import pytest
import yaml
from synthetic import row

from trunkline.data.memory import table_of
from trunkline.errors import BadInput
from trunkline.training.fit import RunResult
from trunkline.training.given import config_of
from trunkline.training.prepare import prepare

RANDOM = random.Random(5)
ROWS = [row(RANDOM) for _ in range(60)]
TEXTS = [" ".join(one["tokens"]) + f" {number}" for number, one in enumerate(ROWS)]
STARS = [1 + number % 10 for number in range(60)]
FRAME = pd.DataFrame({"text": TEXTS, "stars": STARS, "n": np.arange(60) / 7})


@pytest.mark.parametrize("kind", [int, bool, str])
def test_many_columns_of_zeros_and_ones_may_be_one_task_and_that_is_a_finding(kind):
    flags = {name: [kind((number >> place) & 1) for number in range(60)] for place, name in enumerate("abcd")}
    frame = pd.DataFrame({"text": TEXTS, **flags})
    given = config_of(frame)
    (said,) = [one for one in prepare(given.config)[0].findings if one.startswith("4 columns hold 0 and 1; ")]
    assert said in given.sentences
    tasks = yaml.safe_load(said.partition("tasks=")[2])  # which then does what it says
    assert prepare(config_of(frame, tasks=tasks).config)[0].tasks["labels"].labels == list("abcd")


def test_numbers_that_become_classes_say_how_to_get_a_number():
    assert any(
        "'stars' is a sequence task: 10 different whole numbers in 60 rows; to predict a number, say {kind: regression, "
        "target: stars}." in said
        for said in config_of(FRAME).sentences
    )
    assert (
        config_of(FRAME, tasks={"stars": {"kind": "regression", "target": "stars"}}).config.tasks["stars"].kind == "regression"
    )


@pytest.mark.parametrize(
    ("kind", "key", "meant"),
    [("regression", "label", "target"), ("sequence", "target", "label"), ("multilabel", "label", "labels")],
)
def test_the_column_of_another_kind_of_task_is_answered_with_the_own_one(kind, key, meant):
    with pytest.raises(BadInput, match=f"not a key of {kind} but of .*; did you mean '{meant}'\\?"):
        config_of(FRAME, tasks={"stars": {"kind": kind, key: "stars"}})


@pytest.mark.parametrize(
    ("index", "place"),
    [
        (None, "data.train row 6"),
        (range(100, 160), "data.train row 6 (index 105)"),
        ([f"id-{number}" for number in range(60)], "data.train row 6 (index 'id-5')"),
        (TEXTS, "data.train row 6"),
    ],
)
def test_rows_of_a_frame_are_named_by_their_index_too(index, place):
    table = table_of(FRAME if index is None else FRAME.set_axis(index), "data.train")
    assert table.where(5) == table.select([3, 5]).where(1) == place


def test_infinite_numbers_are_named_and_counted():
    frame = FRAME.assign(n=[np.inf, 1.5, -np.inf, *FRAME["n"][3:]])
    tasks = {"n": {"kind": "regression", "target": "n"}}
    with pytest.raises(BadInput, match=r"row 1: column 'n' holds the first of 2 infinite numbers, expected a finite number"):
        prepare(config_of(frame, tasks=tasks).config)
    with pytest.raises(BadInput, match=r"row 2: column 'n' holds an infinite number, expected a finite number"):
        prepare(config_of(FRAME.assign(n=[1.0, np.inf, *FRAME["n"][2:]]), tasks=tasks).config)


def test_reasons_that_are_alike_are_given_once_and_the_index_is_mentioned():
    with pytest.raises(BadInput) as error:
        config_of(FRAME[:1])
    assert str(error.value).count("it has the same value in every row") == 1 and "'stars', 'n': it has the same" in str(
        error.value
    )
    for keywords in ({}, {"text": "text", "label": "stars"}):
        with pytest.raises(BadInput, match=r"; the index is no column, frame.reset_index\(\) makes it one$"):
            config_of(FRAME.set_index("text"), **keywords)


def test_what_a_user_should_know_of_the_columns_is_a_finding():
    frame = pd.DataFrame({"text": TEXTS, "user id": range(60)})
    findings = prepare(config_of(frame, label="user id").config)[0].findings
    assert findings[0].startswith("'user id' is a regression task called 'user_id': used because it was named, though ")


def test_the_repr_of_a_regression_has_a_baseline(tmp_path):
    scores = {"pearson": 0.5, "mae": 1.25}
    task = {"monitor": "pearson", "test": scores, "baseline": {"test": {"pearson": None, "mae": 2.5}}}
    assert "mae  test 1.25 (baseline 2.5)" in repr(RunResult(tmp_path, {"tasks": {"n": task}, "cost": {}}))
