"""Labels come back in the type that they had in the data: told from the values, kept in the task's state."""

from __future__ import annotations

import pytest
from tasktools import corpus_of, fitted

from trunkline.errors import BadInput
from trunkline.tasks import Task
from trunkline.tasks.label_types import in_type, type_of_labels

COLUMNS = {
    "whole numbers": ([10, 2, -1, -20], [-20, -1, 2, 10]),
    "beside a missing one": ([2.0, None, 10.0], [2, 10]),
    "truth values": ([True, False, None], [False, True]),
    "strings of digits": (["2", "10", "2"], ["2", "10"]),
    "beside a word": (["2", "10", "x"], ["10", "2", "x"]),
    "codes": (["01", "02", None], ["01", "02"]),
    "of several types": ([1, "a", 2], ["1", "2", "a"]),
    "truth values and numbers": ([True, 2, 3], ["2", "3", "true"]),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_classes_are_the_values_of_the_column(name):
    values, classes = COLUMNS[name]
    task = fitted("sequence", corpus_of(label=values), label="label")
    again = Task.from_state("t", task.state())
    for one in (task, again):
        assert [(type(value), value) for value in one.classes] == [(type(value), value) for value in classes]
    assert again.state() == task.state() and ("label_type" in task.state()) == (not isinstance(classes[0], str))


def test_a_label_of_the_list_that_is_no_number_keeps_them_strings():
    task = fitted("sequence", corpus_of(label=[1, 2]), label="label", label_list=[1, 2, "other"])
    assert task.classes == ["1", "2", "other"]
    assert fitted("sequence", corpus_of(label=[1, 2]), label="label", label_list=[2, 1, 3]).classes == [2, 1, 3]


def test_lists_of_numbers_are_typed_and_vectors_and_columns_are_names():
    listed = fitted("multilabel", corpus_of(labels=[[3, 7], [], None, [7]]), labels="labels")
    assert fitted("multilabel", corpus_of(labels=[[10, 3], [7]]), labels="labels").classes == [3, 7, 10]
    assert listed.classes == [3, 7] and Task.from_state("t", listed.state()).classes == [3, 7]
    shown = {"labels": ["7"], "scores": {"3": 0.25, "7": 0.75}}
    assert listed.in_own_type(shown) == {"labels": [7], "scores": {3: 0.25, 7: 0.75}}
    assert listed.in_own_type({"labels": None, "scores": None}) == {"labels": None, "scores": None}
    vectors = fitted("multilabel", corpus_of(labels=[[0, 1], [1, 1]]), labels="labels")
    assert vectors.classes == ["label_0", "label_1"] and vectors.in_own_type(shown) is shown
    assert fitted("multilabel", corpus_of(a=[0, 1], b=[1, 0]), labels=["a", "b"]).classes == ["a", "b"]


def test_a_state_whose_labels_are_not_of_its_type_is_refused():
    state = fitted("sequence", corpus_of(label=[1, 2]), label="label").state()
    with pytest.raises(BadInput, match="label_type: found bool, expected a type that all labels are names of"):
        Task.from_state("t", {**state, "label_type": "bool"})
    with pytest.raises(BadInput, match="label_type"):
        Task.from_state("t", {**state, "label_type": "float"})


def test_only_a_plain_spelling_is_the_name_of_a_number():
    assert in_type(["7", "-7", "07", "7.0", "\u0667", "", "true"], "int") == [7, -7, None, None, None, None, None]
    assert in_type(["true", "false", "True", "1"], "bool") == [True, False, None, None]
    assert type_of_labels([], []) is None and type_of_labels([1.5, 2], ["1.5", "2"]) is None
