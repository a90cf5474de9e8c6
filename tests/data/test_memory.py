"""Data in memory give the table that the same data give as a file, whatever holds them; what is no table is one sentence."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import sparse

from trunkline.data.memory import digest_of, is_data, is_splits, refuse_mark, table_of
from trunkline.data.sources import read_table
from trunkline.data.values.tags import to_iob2
from trunkline.errors import BadInput

COLUMNS = {
    "text": ["so good", "so bad", "very slow"],
    "label": ["yes", "no", None],
    "stars": [1.5, None, 3.0],
    "count": [1, 2, 3],
    "held": [True, False, None],
    "words": [["so", "good"], ["so", "bad"], ["very", "slow"]],
    "spans": [[{"start": 0, "end": 2, "label": "x"}], [], None],
}
ROWS = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*COLUMNS.values(), strict=True)]


def frame() -> pd.DataFrame:
    made = pd.DataFrame(COLUMNS, index=[7, 7, 9])  # an index is no column, whatever it holds
    made["words"] = [np.array(words) for words in COLUMNS["words"]]
    return made.astype({"label": "category", "count": "Int64", "held": "boolean"})


HOLDERS = {
    "a mapping": lambda: COLUMNS,
    "a mapping of arrays": lambda: COLUMNS | {"count": np.array([1, 2, 3]), "label": pd.Series(["yes", "no", None])},
    "rows": lambda: [dict(row) for row in ROWS],
    "a data frame": frame,
    "an Arrow table": lambda: pa.table(COLUMNS),
    "a data set": lambda: datasets.Dataset.from_dict(COLUMNS),
    "a selection of a data set": lambda: datasets.Dataset.from_list([*ROWS, ROWS[0]]).select(range(3)).with_format("numpy"),
}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return read_table(str(path))


@pytest.mark.parametrize("holder", HOLDERS)
def test_whatever_holds_the_data_the_table_is_that_of_a_file(holder, file):
    given = HOLDERS[holder]()
    assert is_data(given) and not is_splits(given)
    table = table_of(given, "data.train")
    assert table.columns == file.columns
    for values in table.columns.values():
        assert {type(value) for value in values} <= {str, float, int, bool, list, type(None)}
    assert digest_of(table) == digest_of(table_of(ROWS, "other"))
    assert table.where(1) == "data.train row 2" + (" (index 7)" if holder == "a data frame" else "")


def test_rows_may_lack_a_key_and_label_numbers_get_their_names():
    assert table_of([{"text": "a"}, {"text": "b", "label": 1}], "x").columns == {"text": ["a", "b"], "label": [None, 1]}
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    data = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, 0, -1]}, features=features)
    assert table_of(data, "x").columns["label"] == ["yes", "no", None]


def test_missing_values_are_none_and_numbers_are_pythons():
    values = [np.nan, pd.NA, pd.NaT, None, Decimal("NaN"), np.float32("nan"), np.datetime64("NaT")]
    assert table_of({"a": values}, "x").columns["a"] == [None] * len(values)
    kept = [np.int64(3), np.float32(0.5), np.bool_(True), np.str_("a"), Decimal("1.50"), datetime.date(2024, 1, 2)]
    found = table_of({"a": kept}, "x").columns["a"]
    assert found == [3, 0.5, True, "a", Decimal("1.50"), datetime.date(2024, 1, 2)]
    assert [type(value) for value in found[:4]] == [int, float, bool, str]


def test_nothing_is_shared_with_what_was_given():
    given = {"text": ["a"], "words": [["a"]]}
    table = table_of(given, "x")
    given["words"][0].append("b")
    given["text"].append("b")
    assert table.columns == {"text": ["a"], "words": [["a"]]}


def test_the_digest_is_of_names_and_values_in_order():
    base = {"text": ["a", "b"], "label": ["x", "y"]}
    others = [
        {"text": ["a", "b"], "label": ["y", "x"]},
        {"text": ["b", "a"], "label": ["y", "x"]},
        {"text": ["a", "b"], "tag": ["x", "y"]},
        {"text": ["a", "b"], "label": [None, "y"]},
        {"text": ["a", "b"], "label": [b"x", "y"]},
    ]
    digests = [digest_of(table_of(one, "x")) for one in (base, *others)]
    assert len(set(digests)) == len(digests)
    assert digest_of(table_of({"text": [1, 2]}, "x")) != digest_of(table_of({"text": ["1", "2"]}, "x"))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"text": ["a", "b"], "label": ["x"]}, "found 2 values in column 'text' and 1 in 'label', expected as many in each"),
        ({"text": "abc"}, "column 'text': found str, expected a list"),
        ({"text": {"a": 1}}, "column 'text': found dict, expected a list"),
        ({"text": 3}, "column 'text': found int, expected a list"),
        ({"text": []}, "no rows found, expected at least one"),
        (pd.DataFrame({"text": []}), "no rows found, expected at least one"),
        (pd.DataFrame([["a", "b"]], columns=["text", "text"]), "column 'text' is there twice, expected each name once"),
        (pd.DataFrame([["a", "b"]], columns=[1, "1"]), "column '1' is there twice, expected each name once"),
        (
            pd.DataFrame([["a"]], columns=pd.MultiIndex.from_tuples([("a", "b")])),
            "found column names of 2 levels, expected names that are strings",
        ),
        ([{"text": "a"}, "b"], "found list, expected "),
        ([["a", "b"]], "found list, expected "),
        (np.array([["a"]]), "found ndarray, expected "),
        (pd.Series(["a"]), "found Series, expected "),
        (datasets.Dataset.from_dict({"text": ["a"]}).to_iterable_dataset(), "found IterableDataset, expected "),
        (pa.chunked_array([["a"]]), "found ChunkedArray, expected "),
        ({}, "found dict, expected "),
        (b"text", "found bytes, expected "),
    ],
)
def test_what_is_no_table_is_one_sentence(given, sentence):
    with pytest.raises(BadInput) as error:
        table_of(given, "data.train")
    assert str(error.value).startswith(f"data.train: {sentence}")
    assert "\n" not in str(error.value)


def test_the_name_of_data_in_memory_is_no_source():
    with pytest.raises(BadInput, match="trained on data given in memory, which are not stored with it"):
        read_table("in memory, sha256 " + "0" * 64)
    refuse_mark("in memory.csv")


def test_spans_and_rows_of_tokens_are_read_as_those_of_a_file():
    spans = pd.DataFrame({"text": ["so good", "so bad"], "label": [[[3, 7, "x"]], []]})
    assert table_of(spans, "x").columns["label"] == [[{"start": 3, "end": 7, "label": "x"}], []]
    rows = pd.DataFrame({"Sentence #": [1, 1, 2, 2], "Word": ["so", "good", "in", "paris"], "Tag": ["O", "O", "O", "B-city"]})
    found = table_of(rows, "x").columns
    assert found["tokens"] == [["so", "good"], ["in", "paris"]] and found["tags"] == [["O", "O"], ["O", "B-city"]]


def test_series_of_different_indexes_are_refused_in_a_mapping():
    texts, labels = pd.Series(["a", "b", "c"], index=[0, 1, 2]), pd.Series(["x", "y", "z"], index=[2, 1, 0])
    said = "data.train: columns 'text' and 'label' are Series with different indexes, expected the same one"
    with pytest.raises(BadInput, match=said):
        table_of({"text": texts, "label": labels}, "data.train")
    with pytest.raises(BadInput, match=said):
        table_of({"n": [1, 2, 3], "text": texts, "label": labels.reset_index(drop=True)[::-1]}, "data.train")
    shuffled = pd.DataFrame({"text": texts, "label": labels})
    assert table_of(shuffled, "data.train").columns["label"] == ["z", "y", "x"]
    for held in ({"text": texts, "label": labels.to_numpy()}, {"text": texts, "label": labels.set_axis([0, 1, 2])}):
        assert table_of(held, "data.train").columns["label"] == ["x", "y", "z"]


def test_sets_sparse_matrices_and_generators_are_columns():
    matrix = np.array([[0, 1, 0], [1, 1, 0]])
    given = {"text": (text for text in ("a", "b")), "topics": [{"x"}, frozenset(("z", "y"))], "held": sparse.csr_matrix(matrix)}
    assert is_data(given)
    assert table_of(given, "x").columns == {"text": ["a", "b"], "topics": [["x"], ["y", "z"]], "held": matrix.tolist()}


def test_parts_of_speech_are_read_as_those_of_a_conll_file(tmp_path):
    words, parts = [["so", "good"], ["so", "it", "is"]], [["ADV", "ADJ"], ["ADV", "PRON", "_"]]
    lines = "\n\n".join(
        "\n".join(f"{word} {part}" for word, part in zip(*row, strict=True)) for row in zip(words, parts, strict=True)
    )
    (tmp_path / "x.conll").write_text(lines + "\n")
    file = read_table(str(tmp_path / "x.conll"))
    table = table_of({"tokens": words, "upos": parts}, "data.train")
    assert table.columns["upos"] == file.columns["tags"] == [["B-ADV", "B-ADJ"], ["B-ADV", "B-PRON", "O"]]
    assert table.findings == (
        "the tags in column 'upos' of which none is O: each word was read as a span of its own, as parts of speech are.",
    )
    rows = [json.dumps({"tokens": own, "upos": right}) for own, right in zip(words, parts, strict=True)]
    (tmp_path / "x.jsonl").write_text("\n".join(rows))
    assert read_table(str(tmp_path / "x.jsonl")).columns == table.columns
    for other in ({"tags": [["B-x", "O"], ["O", "O", "O"]]}, {"labels": [["a", "b"], ["c", "d", "e"]]}, {"lemma": parts}):
        assert table_of({"tokens": words, **other}, "x").columns == {"tokens": words, **other}
    both = {"tokens": words, "upos": parts, "ner": [["O", "B-x"], ["O", "O", "O"]]}
    assert table_of(both, "x").columns == both  # which are to be predicted is not said


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ([["LOC", "LOC"], ["O", "PER", "LOC"]], "without a prefix (IO): neighbouring words of one tag were read as one span."),
        ([["B", "I"], ["O", "B", "O"]], "of a prefix alone, read as those of a label 'entity'."),
        ([["B_x", "I_x"], ["O", "B_x", "O"]], "with '_' after the prefix, read as '-'."),
    ],
)
def test_other_schemes_of_tags_are_read_as_those_of_a_conll_file(tmp_path, tags, said):
    words = [["New", "York"], ["so", "Ann", "Rome"]]
    pairs = (zip(*row, strict=True) for row in zip(words, tags, strict=True))
    (tmp_path / "x.conll").write_text("\n\n".join("\n".join(f"{word} {tag}" for word, tag in row) for row in pairs) + "\n")
    (tmp_path / "x.json").write_text(
        json.dumps([{"words": own, "ner_tags": right} for own, right in zip(words, tags, strict=True)])
    )
    table, file = table_of({"words": words, "ner_tags": tags}, "x"), read_table(str(tmp_path / "x.json"))
    assert [to_iob2(row) for row in read_table(str(tmp_path / "x.conll")).columns["tags"]] == [
        to_iob2(row) for row in table.columns["ner_tags"]
    ]
    assert file.columns == table.columns and table.findings == (f"the tags in column 'ner_tags' {said}",)
    short = {"words": words, "ner_tags": [row[1:] for row in tags]}
    assert table_of(short, "x").columns == short  # lists of other lengths are no tags of these words
