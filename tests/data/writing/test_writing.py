"""What is written in each format is read back by libraries that are not ours, with the types that the format has."""

import csv
import gzip
import io
import json
import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trunkline.data.columns import cells
from trunkline.data.sources import read_table
from trunkline.data.values.written import spans_with_lf, with_lf
from trunkline.data.writing import output_format, output_suffixes, parquet
from trunkline.errors import BadInput

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901)
ROWS = [
    {
        "text": 'a "b", c\td\r\n',
        "n": 1,
        "big": 2**53 + 1,
        "x": 0.1,
        "at": MOMENT,
        "nested": {"a": [1, {"b": None}]},
        "no": None,
    },
    {"text": "=1+1", "n": -7, "big": 2**62, "x": math.nan, "at": None, "nested": {"a": []}, "no": None},
    {"text": "\U0001f600 é", "n": None, "big": 0, "x": 1e-300, "at": MOMENT, "nested": None, "no": None},
]
NESTED = [row["nested"] for row in ROWS]


def written(name, rows, chunks=1, types=None):
    file = io.BytesIO()
    with output_format(Path(name), None).writer(file) as writer:
        size = -(-len(rows) // chunks)
        for begin in range(0, len(rows), max(size, 1)):
            writer.write(rows[begin : begin + size], types or {})
    return gzip.decompress(file.getvalue()) if name.endswith(".gz") else file.getvalue()


@pytest.mark.parametrize("name", ["a.jsonl", "a.NDJSON", "a.jsonl.gz", "a.json", "a.json.gz"])
@pytest.mark.parametrize("chunks", [1, 3])
def test_json_keeps_whole_numbers_and_objects(name, chunks):
    data = written(name, ROWS, chunks).decode()
    rows = (
        json.loads(data)
        if ".json" in name.lower() and "jsonl" not in name and "nd" not in name.lower()
        else [*map(json.loads, data.splitlines())]
    )
    assert [row["big"] for row in rows] == [2**53 + 1, 2**62, 0] and [row["nested"] for row in rows] == NESTED
    assert [row["x"] for row in rows] == [0.1, None, 1e-300] and rows[0]["at"] == MOMENT.isoformat()
    assert [row["text"] for row in rows] == [row["text"] for row in ROWS]


@pytest.mark.parametrize(("name", "separator"), [("a.csv", ","), ("a.csv.gz", ","), ("a.tsv", "\t"), ("a.TAB", "\t")])
def test_separated_values_are_read_by_the_csv_module(name, separator):
    rows = list(csv.DictReader(io.StringIO(written(name, ROWS, 2).decode(), newline=""), delimiter=separator))
    assert [row["text"] for row in rows] == [row["text"] for row in ROWS]
    assert [row["big"] for row in rows] == [str(row["big"]) for row in ROWS] and rows[0]["no"] == rows[2]["n"] == ""
    assert [json.loads(row["nested"]) if row["nested"] else None for row in rows] == NESTED
    assert [row["x"] for row in rows] == ["0.1", "", "1e-300"]


def test_a_workbook_keeps_types_and_never_makes_a_formula(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    own = {"day": date(2026, 1, 2), "hour": time(1, 2), "price": Decimal("1.10"), "fine": Decimal("0.1234567890123456789")}
    zone = {"zoned": datetime(2026, 1, 2, tzinfo=UTC), "yes": True, "raw": b"\x00", "took": timedelta(hours=30)}
    book = openpyxl.load_workbook(io.BytesIO(written("a.xlsx", [{**row, **own, **zone} for row in ROWS], 2)))
    header, *rows = book.active.values
    first, second, third = (dict(zip(header, row, strict=True)) for row in rows)
    assert second["text"] == "=1+1" and book.active.cell(3, 1).data_type == "s" and third["text"] == "\U0001f600 é"
    assert (first["n"], second["n"], third["n"]) == (1, -7, None) and (first["big"], second["big"]) == (
        str(2**53 + 1),
        str(2**62),
    )
    assert first["x"] == 0.1 and second["x"] is None and abs((first["at"] - MOMENT).total_seconds()) < 0.001
    assert json.loads(first["nested"]) == NESTED[0] and first["yes"] is True and first["raw"] == "AA=="
    assert (first["price"], first["fine"], first["zoned"]) == (1.1, "0.1234567890123456789", "2026-01-02T00:00:00+00:00")
    assert first["day"] == datetime(2026, 1, 2) and first["hour"] == time(1, 2)
    (tmp_path / "b.xlsx").write_bytes(written("b.xlsx", [{"t": "#N/A", "u": "a\r\nb\rc"}, {"t": None, "u": "#REF!"}]))
    again = read_table(str(tmp_path / "b.xlsx"))  # a text that looks like an error is none
    assert again.columns == {"t": ["#N/A", None], "u": ["a\nb\nc", "#REF!"]} and not again.findings
    for bad, said in (("x" * 40_000, "40,000 characters"), ("a\x01SECRET", "a control character")):
        with pytest.raises(BadInput, match=f"row 1: column 'text' has {said}.*expected --format") as error:
            written("a.xlsx", [{"text": bad}])
        assert "SECRET" not in str(error.value)


@pytest.mark.parametrize("chunks", [1, 3])
def test_parquet_keeps_types(chunks):
    types = {"at": pa.timestamp("us"), "n": pa.int8()}
    found = pq.read_table(io.BytesIO(written("a.parquet", ROWS, chunks, types)))
    assert found.schema.field("at").type == pa.timestamp("us") and found.column("n").to_pylist() == [1, -7, None]
    assert found.column("big").to_pylist() == [row["big"] for row in ROWS] and math.isnan(found.column("x").to_pylist()[1])


def test_rows_are_gathered_to_row_groups_of_parquet(monkeypatch):
    monkeypatch.setattr(parquet, "GROUP_ROWS", 5)
    found = pq.ParquetFile(io.BytesIO(written("a.parquet", [{"n": number} for number in range(23)], 8)))
    assert found.metadata.num_row_groups == 4 and found.read().column("n").to_pylist() == list(range(23))
    monkeypatch.setattr(parquet, "GROUP_BYTES", 1)
    assert pq.ParquetFile(io.BytesIO(written("a.parquet", ROWS, 3))).metadata.num_row_groups == 3


def test_objects_in_parquet_lose_no_key():
    """pyarrow leaves out keys that a type does not have, and cannot write objects without any key."""
    same = [{"o": {"a": 1}}, {"o": {"a": 2, "b": "x"}}]
    assert pq.read_table(io.BytesIO(written("a.pq", same))).column("o").to_pylist() == [{"a": 1, "b": None}, {"a": 2, "b": "x"}]
    for late in ({"o": {"a": 2, "b": "x"}}, {"o": {"a": {"c": 1}}}):
        with pytest.raises(BadInput, match="rows 2 to 2: column 'o' holds values that are not of the type of the first rows"):
            written("a.pq", [{"o": {"a": 1}}, late], 2)
    with pytest.raises(BadInput, match="column 'o'"):
        written("a.pq", [{"o": [{"a": 1}]}, {"o": [{"a": 1}, {"z": 2}]}], 2)
    for empty in ([{"o": {}}], [{"o": [{}]}], [{"o": {"a": {}}}]):
        assert [json.loads(value) for value in pq.read_table(io.BytesIO(written("a.pq", empty))).column("o").to_pylist()] == [
            row["o"] for row in empty
        ]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), min_size=1, max_size=5))
@example(["\r", "a\rb", "a\r\nb"])
def test_any_texts_come_back_from_text_formats(texts):
    rows = [{"t": text, "u": text} for text in texts]
    assert [json.loads(line)["t"] for line in written("a.jsonl", rows).decode().split("\n")[:-1]] == texts
    for name, separator in (("a.csv", ","), ("a.tsv", "\t")):
        read = list(csv.reader(io.StringIO(written(name, rows).decode(), newline=""), delimiter=separator, strict=True))
        assert read == [["t", "u"], *([text, text] for text in texts)]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json", "a.parquet", "a.xlsx"])
def test_a_missing_value_stays_missing_beside_values_of_another_type(tmp_path, name):
    """NaN beside strings, in the first rows and later, is no label: not even where "nan" and "null" are labels."""
    if name.endswith("xlsx"):
        pytest.importorskip("openpyxl")
    values = ["no", math.nan, "01", Decimal("NaN"), "nan", None, "null", math.nan]
    (tmp_path / name).write_bytes(written(name, [{"id": "x", "label": value} for value in values], 2))
    found = read_table(str(tmp_path / name)).columns["label"]
    assert found == ["no", None, "01", None, "nan", None, "null", None]
    lists = [["a", math.nan], math.nan, "b"]
    (tmp_path / name).write_bytes(written(name, [{"id": "x", "label": value} for value in lists], 1))
    found = cells(read_table(str(tmp_path / name)).select([0, 1]), "label")
    assert found == [["a", None], None]


@settings(deadline=None, max_examples=30)
@given(st.text(st.sampled_from("ab\r\n\r"), max_size=12), st.data())
def test_offsets_move_with_line_ends(text, data):
    places = [place for place in range(len(text) + 1) if text[place - 1 : place + 1] != "\r\n" or not place]
    start, end = sorted(data.draw(st.sampled_from(places)) for _ in range(2))
    (moved,) = spans_with_lf([{"start": start, "end": end, "label": "x", "text": text[start:end]}], text)
    assert with_lf(text).splitlines(True) == [
        line.rstrip("\r\n") + "\n" * (line[-1] in "\r\n") for line in text.splitlines(True)
    ]
    assert (moved["start"], moved["end"]) == (len(with_lf(text[:start])), len(with_lf(text[:end])))
    assert moved["text"] == with_lf(text)[moved["start"] : moved["end"]] == with_lf(text[start:end])


def test_the_format_is_that_of_the_name():
    for name, form, packed in (
        ("A.CSV.GZ", "csv", True),
        ("b.tab", "tsv", False),
        ("c", "jsonl", False),
        ("d.pq", "parquet", False),
    ):
        chosen = output_format(Path(name), None)
        assert (chosen.form.name, chosen.gzipped) == (form, packed)
    assert output_format(Path("a.txt"), "tsv").form.name == "tsv" and output_format(None, None).form.name == "jsonl"
    assert {".csv", ".csv.gz", ".jsonl.gz", ".parquet", ".tsv", ".xlsx", ".json"} <= set(output_suffixes())
    for name in ("a.txt", "a.xls", "a.parquet.zip", "a.gz"):
        with pytest.raises(BadInput, match=r"unknown suffix '.*', expected one of \.conll, \.conll\.gz, \.csv"):
            output_format(Path(name), None)
    for name in ("a.parquet.gz", "a.xlsx.gz"):
        with pytest.raises(BadInput, match="is compressed by itself, expected a name that ends in"):
            output_format(Path(name), None)
    with pytest.raises(BadInput, match="expected a file"):
        output_format(None, "parquet")
    with pytest.raises(BadInput, match="did you mean 'csv'"):
        output_format(None, "csvv")


@pytest.mark.parametrize("chunks", [1, 2])
def test_words_and_their_tags_are_read_as_columns(chunks):
    rows = [
        {"tokens": ["New York", "#", "é"], "tags": ["B-creative work", "O", "B-x"]},
        {"tokens": [], "tags": []},
        {"tokens": ["a"], "tags": ["O"]},
    ]
    sentences = written("a.conll", rows, chunks).decode().split("\n\n")
    assert sentences.pop() == ""
    assert [[line.split("\t") for line in sentence.split("\n")] for sentence in sentences] == [
        [list(pair) for pair in zip(row["tokens"], row["tags"], strict=True)] for row in (rows[0], rows[2])
    ]
    assert written("a.conll.gz", rows) == written("a.conll", rows)


@pytest.mark.parametrize("token", ["a\tb", "a\nb", "a\u2028b", " ", ""])
def test_a_word_that_would_end_its_line_is_refused(token):
    with pytest.raises(BadInput, match=r"^row 2: a word is blank or has a tab or a line end in it"):
        written("a.conll", [{"tokens": ["a"], "tags": ["O"]}, {"tokens": [token], "tags": ["O"]}])
