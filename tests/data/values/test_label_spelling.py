import pandas
import pyarrow.parquet as pq
import pytest

from trunkline.data import columns
from trunkline.data.guess import guess_columns
from trunkline.data.sources import read_table
from trunkline.data.values.label_spelling import spelled_alike, spelled_alone


@pytest.mark.parametrize(
    ("given", "spelled"),
    [
        (["True", "FALSE", None, "true"], ["true", "false", None, "true"]),
        (["1.0", None, "2.0", "0.0"], ["1", None, "2", "0"]),
        (["1.0", "nan", "2"], ["1", None, "2"]),
        (["-1.00", "3"], ["-1", "3"]),
        (["-0.0", "0.0", "-0", "1"], ["0", "0", "0", "1"]),
        (["2020-01-31 00:00:00", "2020-02-01T00:00:00.000"], ["2020-01-31", "2020-02-01"]),
        (["2020-01-31T10:00:00.000", "2020-02-01T00:00:00Z"], ["2020-01-31 10:00:00", "2020-02-01 00:00:00"]),
    ],
)
def test_labels_are_spelled_alike(given, spelled):
    assert spelled_alike(given) == spelled


@pytest.mark.parametrize(
    "given",
    [["1.0", "1.5"], ["007", "1"], ["1.0", "a"], ["True", "maybe"], ["yes", "nan"], ["nan", None], [], ["2020-01-31 10:00:00"],
     ["v1.0", "v2.0"], ["a", "b"], ["1", "2"]],
)  # fmt: skip
def test_what_says_something_else_stays_the_same_list(given):
    assert spelled_alike(given) is given


def test_numbers_keep_the_spellings_of_missing_values_if_others_are_listed():
    assert spelled_alike(["1.0", "nan"], keep_missing=True) == ["1", "nan"]


def test_one_label_alone():
    assert [spelled_alone(one) for one in ("True", "1.0", "nan", "a", "007")] == ["true", "1", "nan", "a", "007"]


FRAME = pandas.DataFrame({
    "text": [f"the film number {i} was good or not" for i in range(40)],
    "truth": [i % 2 == 0 for i in range(40)],
    "gap": [None if i == 3 else bool(i % 2) for i in range(40)],
    "whole": [i % 3 for i in range(40)],
    "holes": [None if i == 3 else float(i % 3) for i in range(40)],
    "amount": [None if i == 3 else i * 0.37 for i in range(40)],
    "tiny": [(i + 1) * 1.5e-7 for i in range(40)],
    "code": [f"0{i % 3}7" for i in range(40)],
    "kind": pandas.Categorical([None if i == 3 else "ab"[i % 2] for i in range(40)]),
    "day": pandas.to_datetime([f"2020-01-{1 + i % 3:02}" for i in range(40)]),
    "time": pandas.to_datetime([f"2020-01-01 1{i % 3}:30" for i in range(40)]),
    "lists": [["joy", "calm"][: i % 3] for i in range(40)],
    "vector": [[i % 2, 1, 0] for i in range(40)],
})  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """One data frame in three formats, with its index, as people save it."""
    folder = tmp_path_factory.mktemp("frame")
    FRAME.to_csv(folder / "f.csv")
    FRAME.to_json(folder / "f.jsonl", orient="records", lines=True, date_format="iso")
    FRAME.reset_index().to_parquet(folder / "f.parquet")
    assert pq.ParquetFile(folder / "f.parquet").metadata.num_rows == 40
    return {path.suffix: read_table(str(path)) for path in folder.iterdir()}


def test_a_data_frame_is_the_same_tasks_in_any_format(saved):
    found = {suffix: guess_columns(table).config("f")["tasks"] for suffix, table in saved.items()}
    assert found[".csv"] == found[".jsonl"] == found[".parquet"]
    kinds = {name: task["kind"] for name, task in found[".csv"].items()}
    assert kinds == {
        "truth": "sequence", "gap": "sequence", "whole": "sequence", "holes": "sequence", "amount": "regression",
        "tiny": "regression", "code": "sequence", "kind": "sequence", "lists": "multilabel",
        "vector": "multilabel",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["truth", "gap", "whole", "holes", "code", "kind", "day", "time"])
def test_a_data_frame_has_the_same_labels_in_any_format(saved, name):
    found = {suffix: columns.labels(table, name) for suffix, table in saved.items()}
    assert found[".csv"] == found[".jsonl"] == found[".parquet"]
    assert (None in found[".csv"]) == FRAME[name].isna().any()


def test_a_data_frame_has_the_same_numbers_in_any_format(saved):
    for name in ("amount", "tiny"):
        found = {suffix: columns.numbers(table, name) for suffix, table in saved.items()}
        expected = [None if pandas.isna(value) else pytest.approx(value) for value in FRAME[name]]
        assert found[".csv"] == found[".parquet"] == expected and found[".jsonl"] == expected
