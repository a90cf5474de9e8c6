"""`fit(data, label=...)`: the column that was named is the one that is learned, or is refused with the reason."""

from __future__ import annotations

import random

import numpy as np
import pandas as pd
import pytest
from synthetic import row

from trunkline.errors import BadInput
from trunkline.training.given import config_of
from trunkline.training.prepare import prepare

RANDOM = random.Random(5)
ROWS = [row(RANDOM) for _ in range(60)]
FRAME = pd.DataFrame(
    {
        "review": [" ".join(one["tokens"]) + f" {number}" for number, one in enumerate(ROWS)],
        "mood": [one["label"] for one in ROWS],
        "when": pd.date_range("2024-01-01", periods=60, freq="h"),
        "day": [f"{1 + number % 28}.3.2024" for number in range(60)],
        "paid": [f"{12 + number} €" for number in range(60)],
        "share": [f"{number}%" for number in range(60)],
        "typo": ["?!" if number == 7 else f"{number / 7:.2f}" for number in range(60)],
        "empty": [None] * 60,
        "id": range(1000, 1060),
        "name": [f"name-{number}" for number in range(60)],
        "price": np.linspace(1, 9, 60).round(2),
    }
)
COLUMN = {"sequence": "label", "multilabel": "labels", "regression": "target"}


@pytest.mark.parametrize(
    ("column", "sentences"),
    [
        ("when", ["'when' is not used: its values are dates", "such as the month", 'tasks={"when": {"kind": "sequence"']),
        ("day", ["'day' is not used: its values are dates", "such as the month"]),
        ("paid", ["'paid' is not used: numbers with '€' beside them, which are not read; remove the sign", 'tasks={"paid"']),
        ("share", ["'share' is not used: numbers with '%' beside them", "remove the sign"]),
        ("typo", ["'typo' is not used: 1 value is no number among 59 numbers, first in data.train row 8"]),
        ("empty", ["'empty' is not used: no row has a value"]),
    ],
)
@pytest.mark.parametrize("text", [None, "review"])
def test_named_columns_that_are_no_labels_are_refused_with_the_reason(column, sentences, text):
    with pytest.raises(BadInput) as error:
        config_of(FRAME, text=text, label=column)
    assert all(said in str(error.value) for said in sentences) and str(error.value).startswith("data.train: ")
    assert config_of(FRAME, text=text, tasks={"own": {"kind": "sequence", "label": column}}).config.tasks["own"].label == column


@pytest.mark.parametrize(
    ("column", "kind", "why"),
    [
        ("id", "regression", "though its name looks like that of an id."),
        ("name", "sequence", "though 60 different values in 60 rows, too many for labels, which recur."),
    ],
)
def test_named_columns_that_do_not_look_like_labels_are_used_and_that_is_said(column, kind, why):
    given = config_of(FRAME, text="review", label=column)
    assert {column: kind} == {name: task.kind for name, task in given.config.tasks.items()}
    assert f"{column!r} is a {kind} task: used because it was named, {why}" in given.sentences
    assert not any("not used" in said for said in given.sentences) and len(given.sentences) == 2


def test_named_columns_are_no_texts_and_decide_on_few_rows():
    few = FRAME.loc[[0, 1, 2, 3, 8], ["review", "mood"]]
    for text in (None, "review"):
        given = config_of(few, text=text, label="mood")
        assert (given.config.data.text, list(given.config.tasks)) == ("review", ["mood"])
    titles = pd.DataFrame(
        {"text": FRAME["review"], "summary": FRAME["name"] + " of some film that is long enough to be a text"}
    )
    assert config_of(titles, label="text").config.data.text == "summary"
    with pytest.raises(
        BadInput, match=r"found no column that looks like texts among 'mood', 'id', .*data.text \(text= in Python\)"
    ):
        config_of(FRAME[["mood", "id"]], label="mood")


def test_a_drawn_split_without_a_label_is_named_with_the_reason():
    few = FRAME[["review", "mood"]][:12].assign(mood=["positive", "negative", *[None] * 10])
    with pytest.raises(BadInput) as error:
        prepare(config_of(few, label="mood", validation=FRAME, test="25%").config)
    assert str(error.value) == (
        "data.train: the test split (3 rows drawn from data.train) has no row with a label for task mood, which 2 of all 12 "
        "rows have; expected at least one: more rows with a label, another share, or other data for test"
    )


def test_columns_of_a_table_with_a_token_a_row_are_named_as_in_the_file():
    rows = {"Word": list("abcd"), "Tag": ["O", "B-x", "O", "B-x"], "Sentence #": ["s1", None, "s2", None]}
    given = [config_of(rows, text=text, label=label).config.tasks for text, label in ((None, "Tag"), ("Word", "tags"))]
    assert given[0] == given[1] == config_of(rows, label="tags").config.tasks and list(given[0]) == ["tags"]
