"""Labels that a program gives as strings are these strings; files, which have no types, may spell them in other ways."""

from __future__ import annotations

from dataclasses import replace

import datasets
import numpy as np
import pandas as pd
import pytest
from tasktools import corpus_of, fitted

from trunkline.data.corpus import build_corpus
from trunkline.data.memory import digest_of, table_of
from trunkline.tasks import Task
from trunkline.tasks.labels import Reading

STRINGS = {
    "True/False": (["True", "False"], ["false", "true"]),
    "TRUE/FALSE": (["TRUE", "FALSE"], ["false", "true"]),
    "1.0/2.0": (["1.0", "2.0"], ["1", "2"]),
    "midnights": (["2020-01-01 00:00:00", "2020-01-02 00:00:00"], ["2020-01-01", "2020-01-02"]),
    "lists": (["['a']", "['b']"], ["a", "b"]),
    "plain": (["yes", "no"], ["no", "yes"]),
}


def of_memory(labels: object) -> Task:
    table = table_of({"text": ["one", "two"], "label": labels}, "data.train")
    return fitted("sequence", build_corpus(table, text="text"), label="label")


@pytest.mark.parametrize("name", STRINGS)
def test_strings_of_a_program_are_the_labels_and_those_of_a_file_are_spelled_alike(name):
    given, spelled = STRINGS[name]
    of_file = fitted("sequence", corpus_of(label=given), label="label")
    assert of_file.labels == spelled
    for labels in (given, np.array(given), pd.Categorical(given), pd.Series(given, dtype="string")):
        task = of_memory(labels)
        assert task.labels == task.classes == sorted(given)
    numbers = [sorted(given).index(label) for label in given]
    assert (
        task.targets(build_corpus(table_of({"text": ["a", "b"], "label": given}, "x"), text="text")).values.tolist() == numbers
    )
    if name != "lists":  # which a file does not hold as strings
        assert task.targets(corpus_of(label=given)).values.tolist() == numbers
        assert (
            of_file.targets(build_corpus(table_of({"text": ["a", "b"], "label": given}, "x"), text="text")).values.tolist()
            == numbers
        )
    for one in (task, of_file):  # answers to be scored
        reader, held = one.with_answers(given, corpus_of(text=["a", "b"]))
        found = reader.targets(held, Reading())
        assert found.values.tolist() == numbers and not found.unseen


def test_names_of_numbers_of_a_data_set_are_strings_too():
    features = datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=["False", "True"]))
    given = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}, features=features)
    assert fitted("sequence", build_corpus(table_of(given, "x"), text="text"), label="label").classes == ["False", "True"]
    chosen = table_of(given, "x").select([1, 0])
    assert fitted("sequence", build_corpus(chosen, text="text"), label="label").labels == ["False", "True"]


def test_two_spellings_in_memory_are_two_labels_also_when_they_are_scored():
    task = fitted(
        "sequence", build_corpus(table_of({"text": ["a"] * 3, "label": ["1", "1.0", "2"]}, "x"), text="text"), label="label"
    )
    assert task.labels == ["1", "1.0", "2"]
    reader, held = task.with_answers(["1.0", None, "2"], corpus_of(text=["a", "b", "c"]))
    assert reader.targets(held).values.tolist() == [1, 0, 2]


def test_missing_values_among_numbers_stay_missing():
    labels = ["1", "2", "nan", " ", None]
    table = table_of({"text": ["a"] * 5, "label": labels}, "x")
    assert fitted("sequence", build_corpus(table, text="text"), label="label").labels == ["1", "2"]


def test_data_whose_strings_were_spelled_otherwise_before_are_other_data():
    def digests(labels):
        table = table_of({"text": ["a", "b"], "label": labels}, "x")
        return digest_of(table), digest_of(replace(table, strings=frozenset()))

    for name, (given, _) in STRINGS.items():
        now, before = digests(given)
        assert (now == before) == (name == "plain")


def test_a_number_and_the_string_of_it_are_one_label_and_told():
    task = fitted("sequence", corpus_of(label=[1, "1", "b", True, "true"]), label="label")
    assert task.labels == ["1", "b", "true"]
    assert task.label_findings(corpus_of(label=[1, "1", "b", True, "true"])) == [
        "'t': 2 labels stand in the data both as strings and as numbers or truth values, and count as one: '1', 'true'."
    ]
    assert task.label_findings(corpus_of(label=["1", 1, "b"])) == [
        "'t': 1 label stands in the data both as strings and as numbers or truth values, and counts as one: '1'."
    ]
    assert task.label_findings(corpus_of(label=["1", "b"])) == []


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        ("sequence", [True, 0, None, True, "joy"], "truth values (2), numbers (1) and strings (1)"),
        ("sequence", [1, 2.0, "joy"], "numbers (2) and strings (1)"),
        ("sequence", [1, 2.5, None], None),
        ("multilabel", [[True, "joy"], ["joy"], None], "strings (2) and truth values (1)"),
        ("multilabel", [[1, 2], [2.0], []], None),
    ],
)
def test_labels_of_several_types_are_told(kind, given, said):
    corpus = corpus_of(label=given)
    task = fitted(kind, corpus, **{"label" if kind == "sequence" else "labels": "label"})
    all_strings = f"'t': the labels are of several types, {said}; predictions give all of them as strings."
    assert task.label_findings(corpus) == ([] if said is None else [all_strings])
    assert said is None or all(type(one) is str for one in task.classes)
