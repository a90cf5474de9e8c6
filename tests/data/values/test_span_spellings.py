"""Spans as other tools and libraries spell them, in any format."""

import json

import datasets
import pandas as pd
import pytest

from trunkline.data.columns import span_lists
from trunkline.data.sources import read_chunks, read_table
from trunkline.data.table import Table
from trunkline.data.values.spans import as_spans, with_spans
from trunkline.errors import BadInput

WANTED = [(0, 3, "A"), (4, 7, "B")]


@pytest.mark.parametrize(
    "spans",
    [
        [[0, 3, "A"], [4, 7, "B"]],
        [[0, 3, "A", "Q42"], [4, 7, "B", ""]],
        [{"start_offset": 0, "end_offset": 3, "label": "A"}, {"start_offset": 4, "end_offset": 7, "label": "B"}],
        [{"startOffset": 0, "endOffset": 3, "labels": ["A"]}, {"startOffset": 4, "endOffset": 7, "labels": ["B"]}],
        [{"begin": 0, "end": 3, "type": "A"}, {"begin": 4, "end": 7, "type": "B"}],
        [{"start": 0, "end": 3, "entity_group": "A", "score": 1.0}, {"start": 4, "end": 7, "entity_group": "B", "score": 1.0}],
        [{"start": 0, "end": 3, "label": "A"}, {"start": 4, "end": 7, "label": "B"}],
        {"start": [0, 4], "end": [3, 7], "label": ["A", "B"]},
        [{"offsets": [[0, 3]], "type": "A"}, {"offsets": [[4, 7]], "type": "B"}],
        [{"span": [0, 3], "tag": "A"}, {"span": [4, 7], "tag": "B"}],
    ],
)
def test_spans_of_any_spelling_are_read(tmp_path, spans):
    (tmp_path / "x.jsonl").write_text(
        json.dumps({"text": "abc def", "marks": spans}) + "\n" + '{"text": "abc def", "marks": null}\n' * 2
    )
    table = read_table("x.jsonl", base=tmp_path)
    column = "spans" if "spans" in table.columns else "marks"
    assert span_lists(table, column, table.columns["text"]) == [WANTED, None, None]
    pieces = list(read_chunks("x.jsonl", 1, base=tmp_path))
    assert [len(piece) for piece in pieces] == [1, 1, 1]
    if column == "marks":  # of no tool: passed through as it is
        assert pieces[0].columns["marks"] == [spans]


def test_spans_of_another_spelling_in_cells_of_csv(tmp_path):
    """As Label Studio exports them."""
    cells = [json.dumps([{"start": 0, "end": 3, "text": "abc", "labels": ["A"]}]), "[]", None, '[[4, 7, "B"]]']
    pd.DataFrame({"text": ["abc def"] * 4, "label": cells}).to_csv(tmp_path / "x.csv", index=False)
    table = read_table("x.csv", base=tmp_path)
    assert span_lists(table, "label", table.columns["text"]) == [[(0, 3, "A")], [], None, [(4, 7, "B")]]


@pytest.mark.parametrize("spell", [str, repr, lambda spans: f" {json.dumps(spans)}"])
def test_spans_that_are_written_as_text_are_those_that_are_there(spell):
    """As pandas and datasets write them to CSV."""
    texts = {
        "triples": [[(0, 3, "A"), (4, 7, "B")], [], [(4, 7, "B")]],
        "lists": [[], [[0, 3, "A"]], []],
        "typed": [[{"start": 0, "end": 3, "type": "A"}], [], [{"start": 4, "end": 7, "type": "B"}]],
        "columns": [{"start": [], "end": [], "label": []}, {"start": [0], "end": [3], "label": ["A"]}, None],
    }
    told = with_spans(Table("x", texts)).columns
    assert told["columns"][1] == told["lists"][1] == [{"start": 0, "end": 3, "label": "A"}]
    written = {name: [None if value is None else spell(value) for value in values] for name, values in texts.items()}
    assert with_spans(Table("x", written)).columns == told
    broken = Table("x", {"c": [spell([[0, 3, "A"]]), "[" * 100_000, "[(0, 3"]})
    assert with_spans(broken).columns == broken.columns
    with pytest.raises(
        BadInput, match=r"x row 1: column 'c' has a span whose start or end is not .* or whose label is missing"
    ):
        span_lists(Table("x", {"c": [[{"start": 0, "end": 3, "label": " "}]]}), "c")


@pytest.mark.parametrize("values", [[[0, 3]], [[0.0, 3, "A"]], [{"start": 0, "label": "A"}], ["a"], [[True, 2, "A"]], [7]])
def test_what_is_no_span_stays(values):
    assert as_spans(values) is None


def test_sequences_of_dicts_of_a_hugging_face_data_set(tmp_path):
    names = datasets.ClassLabel(names=["A", "B"])
    inner = {"start": datasets.Value("int32"), "end": datasets.Value("int32"), "label": names}
    tags = datasets.ClassLabel(names=["O", "B-A"])
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "spans": datasets.Sequence(inner),
            "tags": datasets.Sequence(tags),
            "listed": [inner],
        }
    )
    spans = [{"start": 0, "end": 3, "label": "A"}, {"start": 4, "end": 7, "label": "B"}]
    columns = {"text": ["abc def", "x"], "spans": [spans, []], "tags": [["B-A", "O"], ["O"]], "listed": [spans, []]}
    transposed = [{key: [span[key] for span in row] for key in inner} for row in columns["spans"]]
    made = datasets.Dataset.from_dict({**columns, "spans": transposed}, features=features)
    made.save_to_disk(tmp_path / "saved")
    made.to_parquet(tmp_path / "x.parquet")
    for name in ("saved", "x.parquet"):
        table = read_table(name, base=tmp_path)
        assert table.columns == columns
        assert not {"spans", "listed"} & set(table.types or ())


def test_a_column_of_dicts_that_are_no_spans_stays(tmp_path):
    answers = {"text": ["a"], "answer_start": [1]}
    pd.DataFrame({"text": ["x", "y"], "answers": [answers, answers]}).to_json(
        tmp_path / "x.jsonl", orient="records", lines=True
    )
    assert read_table("x.jsonl", base=tmp_path).columns["answers"] == [answers, answers]
