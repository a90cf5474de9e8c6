"""Predictions in data are recognised by the column of the earlier labels that `predict` writes beside them."""

from __future__ import annotations

import pytest
from tasktools import corpus_of, fitted

from trunkline.data.table import Table
from trunkline.data.values.predictions import holds_predictions
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
    assert not holds_predictions("topics", {"topics": cells})
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
