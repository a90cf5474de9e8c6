"""Predictions in data are recognised by the column of the earlier labels that `predict` writes beside them."""

from __future__ import annotations

import json

import pytest
from tasktools import corpus_of, fitted

from trunkline.data.table import Table
from trunkline.data.values.predictions import earlier_of, given_of, holds_predictions, labelled_columns, told_predictions
from trunkline.errors import BadInput
from trunkline.model import table_scores

SPAN = {"start": 0, "end": 4, "label": "city"}


@pytest.mark.parametrize(
    ("cells", "given"),
    [
        (['["a", "b"]', "[]"], ["['b', 'a']", "[]"]),
        (["a", "b"], ["b", "b"]),
        (["a|b", ""], ["a|b", "b"]),
        (["7.5", None], ["3", "4"]),
        ([7.5, 2], [3, float("nan")]),
        ([[{**SPAN, "text": "Oslo", "score": 0.5}]], [[SPAN]]),
        ([[{**SPAN, "text": "Oslo", "score": 0.5}]], [["B-city", "O"]]),
    ],
)
def test_a_column_of_earlier_labels_shows_that_a_column_holds_predictions(cells, given):
    assert holds_predictions("topics", {"topics": cells, "given_topics": given})
    scored = isinstance(cells[0], list)  # spans with scores show it by themselves
    assert holds_predictions("topics", {"topics": cells}) == scored
    assert given_of("topics", {"topics": cells, "given_topics": given}) == "given_topics"
    assert not holds_predictions("given_topics", {"topics": cells, "given_topics": given})


@pytest.mark.parametrize(
    ("values", "beside"),
    [
        (["Ada Lovelace", "Alan Turing", "Emmy Noether"], ["Ada", "Alan", "Emmy"]),  # name and given_name of people
        (["Lovelace", "James", "Noether"], ["Ada", "James", "Emmy"]),
        (["low", "high"], [1, 2]),
        (["a", "b"], [None, None]),
        ([None, None], ["a", "b"]),
    ],
)
def test_another_column_called_given_is_no_sign_of_predictions(values, beside):
    assert not holds_predictions("name", {"name": values, "given_name": beside})


def test_labels_and_numbers_beside_scored_predictions_hold_predictions_too():
    table = {
        "text": ["x"],
        "amount": [3.5],
        "topics": ["a,b"],
        "mood": ["a"],
        "mood.score": [0.5],
        "length": [2.5],
        "gold": ["b"],
        "size": [1.5],
    }
    found = [name for name in table if holds_predictions(name, table, ["topics", "length", "size"])]
    assert found == ["topics", "mood", "length"]  # `amount` is no branch, and something stands between the others and `size`
    assert not holds_predictions("topics", {"topics": ["a"], "length": [1.5]}, ["topics", "length"])  # nothing shows it
    assert told_predictions("m", ["mood"], table)[0].startswith("column 'mood' holds predictions, so 'm' is trained to agree")
    assert told_predictions("t", ["topics"], table, ["topics"])[0].startswith("column 'topics' seems to hold predictions, ")


def test_lists_of_labels_that_differ_from_columns_called_like_them_are_predictions():
    held = {"price": ["1", "0", None], "staff": [None, None, "x"]}
    for cells in ([["price"], ["staff"], []], ['["price"]', '["staff"]', "[]"], [{"labels": ["price"]}, None, {"labels": []}]):
        assert labelled_columns("labels", {**held, "labels": cells}) == ["price", "staff"]
        assert holds_predictions("labels", {**held, "labels": cells})
    for cells in ([["price"], [], ["staff"]], [["price"], ["food"], []], [[], [], []], ["price", "staff", ""]):
        assert not labelled_columns("labels", {**held, "labels": cells})  # the same, said twice; or other labels
    assert not labelled_columns("labels", {"price": [3, 0, None], "labels": [["price"], ["price"], []]})


def test_spans_with_the_keys_of_predicted_ones_are_predictions_also_as_a_cell():
    spans = [{**SPAN, "text": "Oslo", "score": 0.5}]
    assert holds_predictions("city", {"city": ["[]", json.dumps(spans)]}) and holds_predictions("city", {"city": [None, spans]})
    assert not holds_predictions("city", {"city": [[SPAN]]}) and not holds_predictions("city", {"city": ["[x"]})


def test_a_second_prediction_leaves_an_earlier_one_behind():
    table = {"mood": ["a"], "mood.score": [0.5], "given_mood": ["b"], "given_mood_2": ["a"]}
    assert earlier_of("given_mood_2", table) == "mood"
    assert earlier_of("given_mood", table) is earlier_of("mood", table) is None
    assert earlier_of("given_x_2", {"given_x_2": [1], "x": [2]}) is None


def test_the_column_with_the_right_answers_is_named_only_where_it_is_there():
    table = Table("out.csv", {"mood": ["a"], "mood.score": [0.5]})
    assert table_scores._of_predictions("m", "mood", table, True).endswith("names the column with the right answers.")
    beside = Table("out.csv", {**table.columns, "given_mood": ["a"]})
    assert table_scores._of_predictions("m", "mood", beside, True).endswith(", such as 'given_mood'.")


def test_predictions_that_cannot_be_read_as_answers_are_told_the_column_that_can():
    spans, tags = [{"spans": []}], [["O"]]
    error = BadInput("out.jsonl line 1: column 'ner' holds a list, expected a list of strings")
    city = fitted("token", corpus_of(tokens="words", words=[["so", "oslo"]], ner=[["O", "B-x"]]), tokens="words", tags="ner")
    written = Table(columns={"words": [["so"]], "ner": spans, "given_ner": tags}, source="out.jsonl")
    assert str(table_scores._of_answers("city", city, written, error)).endswith(
        "; column 'ner' holds predictions: --column city=given_ner names the column with the right answers"
    )
    chosen = Table(columns={"words": [["so"]], "ner": tags, "given_ner": tags}, source="out.jsonl")
    for other in (chosen, Table(columns={"words": [["so"]], "ner": tags}, source="out.jsonl")):
        assert table_scores._of_answers("city", city, other, error) is error


def test_words_or_columns_of_answers_that_are_missing_are_named_with_the_option_that_works():
    error = BadInput("not to be read")
    tags = {"ner": [["O", "B-x"]]}
    city = fitted("token", corpus_of(tokens="words", words=[["so", "oslo"]], **tags), tokens="words", tags="ner")
    said = str(table_scores._of_answers("city", city, Table("new.jsonl", {"text": ["so oslo"], **tags}), error))
    assert said == (
        "new.jsonl: no column 'words', expected the words of the tags, as in training, found 'text', 'ner'; "
        "--column tokens=NAME names another"
    )
    topics = fitted("multilabel", corpus_of(a=[1, 0], b=[0, 1], c=[1, 1]), labels=["a", "b", "c"])
    said = str(table_scores._of_answers("topics", topics, Table("new.jsonl", {"text": ["x"], "b": [1]}), error))
    assert said == (
        "new.jsonl: no column 'a', 'c', expected answers of 'topics', as in training, found 'text', 'b'; "
        "--column topics.a=NAME names another"
    )
