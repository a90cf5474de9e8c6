"""Predictions in data are recognised by the column of the earlier labels that `predict` writes beside them."""

from __future__ import annotations

import pytest

from trunkline.data.table import Table
from trunkline.data.values.predictions import holds_predictions
from trunkline.errors import BadInput
from trunkline.model import tables


@pytest.mark.parametrize("cells", ['["a", "b"]', "a", "7.5"])
def test_a_column_of_earlier_labels_shows_that_a_column_holds_predictions(cells):
    assert holds_predictions("topics", {"topics": [cells], "given_topics": ["a"]})
    assert not holds_predictions("topics", {"topics": [cells]})
    assert not holds_predictions("given_topics", {"topics": [cells], "given_topics": ["a"]})


def test_predictions_that_cannot_be_read_as_answers_are_told_the_column_that_can():
    spans, tags = [{"spans": []}], [["O"]]
    error = BadInput("out.jsonl line 1: column 'ner' holds a list, expected a list of strings")
    written = Table(columns={"ner": spans, "given_ner": tags}, source="out.jsonl")
    assert str(tables._of_answers("city", ["ner"], written, error)).endswith(
        "; column 'ner' holds predictions: --column city=given_ner names the column with the right answers"
    )
    chosen = Table(columns={"ner": tags, "given_ner": tags}, source="out.jsonl")
    for other in (chosen, Table(columns={"ner": tags}, source="out.jsonl")):
        assert tables._of_answers("city", ["ner"], other, error) is error
