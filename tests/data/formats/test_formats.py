"""Each format against the library that writes it, and each way in which a file can be broken."""

import csv
import gzip
import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from trunkline.data.formats import all_suffixes, format_of
from trunkline.data.formats import csv as csv_format
from trunkline.data.sources import read_chunks, read_table
from trunkline.errors import BadInput

SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TEXT = st.text(st.characters(codec="utf-8"), max_size=12)


def write(path, data):
    data = data.encode("utf-8") if isinstance(data, str) else data
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)


def refused(path, data, match):
    with pytest.raises(BadInput, match=match) as caught:
        read_table(write(path, data))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_suffixes_are_found_in_any_case(tmp_path):
    assert {".jsonl.gz", ".csv.gz", ".tsv", ".parquet", ".conll"} <= set(all_suffixes())
    assert ".parquet.gz" not in all_suffixes()
    assert format_of(tmp_path / "A.CSV.GZ") is format_of(tmp_path / "b.csv")
    assert format_of(tmp_path / "csv") is None


# JSON lines


@SETTINGS
@given(rows=st.lists(st.dictionaries(st.sampled_from("abc"), st.none() | TEXT | st.integers() | st.lists(TEXT)), min_size=1))
def test_jsonl_gives_back_what_json_wrote(tmp_path, rows):
    if not any(rows):
        return
    data = "".join(json.dumps(row, ensure_ascii=i % 2 == 0) + "\n" * (1 + i % 2) for i, row in enumerate(rows))
    for name in ("x.jsonl", "x.jsonl.gz"):
        table = read_table(write(tmp_path / name, data))
        names = list(dict.fromkeys(key for row in rows for key in row))
        assert list(table.columns) == names
        assert table.columns == {name: [row.get(name) for row in rows] for name in names}
        lines = data.split("\n")
        assert [json.loads(lines[line - 1]) for line in table.lines] == rows


def test_jsonl_keeps_the_order_of_keys_that_first_appear_together(tmp_path):
    table = read_table(write(tmp_path / "x.jsonl", '{"q": 1, "w": 2, "e": 3, "r": 4}\n{"z": 1, "y": 2, "x": 3}\n'))
    assert list(table.columns) == ["q", "w", "e", "r", "z", "y", "x"]


def test_jsonl_survives_line_separators_and_marks(tmp_path):
    table = read_table(write(tmp_path / "x.jsonl", '\ufeff{"text": "a\u2028b\u0085c\\u0000\\ud800"}\r\n'))
    assert table.columns == {"text": ["a\u2028b\u0085c\0\ud800"]}


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ('{"a": 1}\n\n{"a": \n', r"x\.jsonl line 3 column \d+: broken JSON"),
        ('{"a": 1}\n[1]\n', r"x\.jsonl line 2: found a list, expected one JSON object"),
        ('"secret"\n', r"line 1: found a string"),
        ("[" * 100_000 + "\n", r"line 1: JSON that cannot be read"),
        ('{"a": ' + "9" * 5000 + "}\n", r"line 1: JSON that cannot be read"),
        (b'{"a": "x"}\n{"a": "caf\xe9"}\n', r"x\.jsonl line 2: byte 11 .*0xe9.* is not UTF-8"),
        ("\n\n", r"no rows found"),
        ("", r"x\.jsonl: the file is empty"),
    ],
)
def test_broken_jsonl_is_one_sentence(tmp_path, data, match):
    assert "secret" not in refused(tmp_path / "x.jsonl", data, match)


def test_a_damaged_gzip_file_is_told(tmp_path):
    good = gzip.compress(b'{"a": "abcdefghijklmnopqrstuvwxyz"}\n' * 1000)
    for data in (good[: len(good) // 2], b'{"a": 1}\n', good[:40] + b"\xff" * 30 + good[70:]):
        (tmp_path / "x.jsonl.gz").write_bytes(data)
        with pytest.raises(BadInput, match=r"x\.jsonl\.gz"):
            read_table(str(tmp_path / "x.jsonl.gz"))


def test_a_file_that_is_not_gzip_at_all_is_told_without_its_bytes(tmp_path):
    (tmp_path / "x.csv.gz").write_bytes(b"hello,label\n")
    with pytest.raises(BadInput, match="not a gzip file") as caught:
        read_table(str(tmp_path / "x.csv.gz"))
    assert "b'he" not in str(caught.value)


# CSV and TSV


CELLS = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=6).filter(lambda rows: all(any(row) for row in rows))


@SETTINGS
@given(rows=CELLS)
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_cells_come_back_as_the_csv_module_wrote_them(tmp_path, suffix, rows):
    path = tmp_path / ("x" + suffix)
    # A cell that holds a tab and a line end may read as two rows of cells that begin with a quote: TSV does not say which.
    assume(suffix == ".csv" or not any("\t" in cell and "\n" in cell for row in rows for cell in row))
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="," if suffix == ".csv" else "\t")
        writer.writerows([("a", "b"), *rows])
    table = read_table(str(path))
    assert table.columns == {"a": [a or None for a, _ in rows], "b": [b or None for _, b in rows]}
    lines = path.read_bytes().split(b"\n")
    for row, (a, _) in enumerate(rows):  # the line of a row is where it begins
        if a.isalnum():
            assert lines[table.lines[row] - 1].startswith(a.encode())


@SETTINGS
@given(rows=CELLS)
def test_tsv_from_pandas(tmp_path, rows):
    path = tmp_path / "x.tsv"
    pd.DataFrame(rows, columns=["a", "b"]).to_csv(path, sep="\t", index=False, quoting=csv.QUOTE_ALL)
    assert read_table(str(path)).columns == {"a": [a or None for a, _ in rows], "b": [b or None for _, b in rows]}


def test_plain_tsv_takes_quotes_as_they_are(tmp_path):
    data = 'text\tlabel\n"Hello`, he said\t1\nno "end\t0\n"all quoted"\t1\n'
    assert read_table(write(tmp_path / "x.tsv", data)).columns["text"] == ['"Hello`, he said', 'no "end', '"all quoted"']


def test_csv_with_large_cells_nul_and_gzip(tmp_path):
    text = "x\0y," * 250_000
    table = read_table(write(tmp_path / "x.csv.gz", f'text,label\n"{text}",a\n"two\nlines",b\n\nlast,c\n'))
    assert table.columns["text"] == [text, "two\nlines", "last"]
    assert list(table.lines) == [2, 3, 6]


def test_a_column_without_a_name_gets_one(tmp_path):
    assert list(read_table(write(tmp_path / "x.csv", ",text\n0,a\n")).columns) == ["column 1", "text"]


@pytest.mark.parametrize(
    ("name", "data", "match"),
    [
        ("x.csv", "text;label\na, b;1\nc;2;3\n", r"x\.csv line 1: the header is one cell with ';' in it"),
        ("x.csv", "text,label\na,1\nb,c,1\n", r"x\.csv line 3: 3 cells found, expected 2"),
        ("x.csv", "text,label\na,1\nb\n", r"x\.csv line 3: 1 cells found, expected 2"),
        ("x.csv", 'text,label\na,1\n"b,2\nc,3\n', r"x\.csv line 3: cells that cannot be separated"),
        ("x.csv", "text,text\na,1\n", r"line 1: the header names column 'text' twice"),
        ("x.csv", "text;label\na\n", r"line 1: the header is one cell with ';' in it, expected .* commas"),
        ("x.csv", b"text,label\na,1\n\xff,2\n", r"x\.csv line 3: byte 1 .* is not UTF-8"),
        ("x.csv", "text,label\n", r"no rows found"),
        ("x.csv", "", r"the file is empty"),
        ("x.tsv", "text\tlabel\na\t1\nb\tc\t1\n", r"x\.tsv line 3: 3 cells found, expected 2"),
        ("x.tsv", b"text\tlabel\na\t\xc3\x28\n", r"x\.tsv line 2: byte 3 .* is not UTF-8"),
    ],
)
def test_broken_cells_are_one_sentence(tmp_path, name, data, match):
    refused(tmp_path / name, data, match)


# CoNLL


def test_conll_2003_columns(tmp_path):
    data = (
        "-DOCSTART- -X- -X- O\n\nEU NNP I-NP I-ORG\nrejects VBZ I-VP O\n\n\nPeter NNP I-NP I-PER\n \n"
        "-DOCSTART- -X- -X- O\n\n# NN I-NP O\n1\u00a0000 CD I-NP O"
    )
    table = read_table(write(tmp_path / "x.conll", data))
    assert table.columns == {
        "tokens": [["EU", "rejects"], ["Peter"], ["#", "1\u00a0000"]],
        "tags": [["I-ORG", "O"], ["I-PER"], ["O", "O"]],
    }
    assert list(table.lines) == [3, 7, 11]


def test_conll_with_tabs_keeps_spaces_in_tokens(tmp_path):
    table = read_table(write(tmp_path / "x.bio.gz", "1 000\tB-N\r\nx\tO\r\n\t\r\ny\tO\r\n"))
    assert table.columns == {"tokens": [["1 000", "x"], ["y"]], "tags": [["B-N", "O"], ["O"]]}


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ("EU O\nrejects\n", r"x\.conll line 2: 1 columns found, expected 2 as above"),
        ("EU\n", r"line 1: 1 columns found, expected a token and its tag"),
        ("EU NNP O\nsays VB O O\n", r"line 2: 4 columns found, expected 3"),
        ("\n\n", r"no rows found"),
    ],
)
def test_broken_conll_is_one_sentence(tmp_path, data, match):
    refused(tmp_path / "x.conll", data, match)


# Parquet


def test_parquet_gives_back_what_pyarrow_wrote(tmp_path):
    columns = {
        "text": ["a", None, "ü😀"],
        "n": [1, 2, None],
        "spans": [[{"start": 0, "end": 1, "label": "x"}], [], None],
        "tokens": [["a"], [], ["b", "c"]],
    }
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    table = read_table(str(tmp_path / "x.parquet"))
    assert table.columns == columns and table.where(2).endswith("x.parquet row 3")


def test_a_broken_parquet_file_is_told(tmp_path):
    refused(tmp_path / "x.parquet", b"PAR1 but not really", r"x\.parquet: not a Parquet file that can be read")


def test_a_parquet_file_that_names_a_column_twice_is_told(tmp_path):
    rows = pa.table(
        [pa.array(["a"]), pa.array(["b"]), pa.array([1])], names=["text", "SECRET words of a text", "SECRET words of a text"]
    )
    pq.write_table(rows, tmp_path / "x.parquet")
    match = r"x\.parquet: column 'SECRET w\.\.\.' is there twice, expected each name once$"
    for read in (read_table, lambda path: next(read_chunks(path, 10))):
        with pytest.raises(BadInput, match=match):
            read(str(tmp_path / "x.parquet"))


def test_a_wide_header_is_looked_at_once_and_each_name_once(tmp_path, monkeypatch):
    """Counts comparisons of names: with one look at each, there are about as many as names, not their square."""
    compared = [0]

    class Name(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other):
            compared[0] += 1
            return str.__eq__(self, other)

        def strip(self, *characters):
            return Name(str.strip(self, *characters))

    wide = 300
    header, row = [Name(f"n{i}") for i in range(wide)], ["1"] * wide
    tables = list(csv_format.rows_to_tables(iter([(1, header), *((i, row) for i in range(2, 32))]), "x.csv", 2))
    assert [len(table) for table in tables] == [2] * 15 and compared[0] < 3 * wide * len(tables)
    with pytest.raises(BadInput, match=r"x\.csv line 1: the header names column 'n7' twice"):
        csv_format.rows_to_table(iter([(1, [*header, Name("n7")]), (2, [*row, "1"])]), "x.csv")


def test_rows_of_a_parquet_file_keep_their_numbers_from_chunk_to_chunk(tmp_path):
    pq.write_table(pa.table({"text": [f"t{i}" for i in range(10)]}), tmp_path / "a.parquet")
    assert [table.where(len(table) - 1) for table in read_chunks(str(tmp_path / "a.parquet"), 4)] == [
        f"{tmp_path / 'a.parquet'} row {row}" for row in (4, 8, 10)
    ]
