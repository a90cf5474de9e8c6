"""CSV and TSV as spreadsheets, pandas and old programs write them."""

import csv
import io

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trunkline.data.sources import read_chunks, read_table
from trunkline.errors import BadInput

SETTINGS = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TEXT = st.text(st.sampled_from("ab ,;|\t\"'\r\nü\0"), max_size=6)


def read(path, data, **options):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    whole, pieces = read_table(str(path), **options), list(read_chunks(str(path), 2, **options))
    for name, values in whole.columns.items():
        assert [value for piece in pieces for value in piece.columns[name]] == values
    assert pieces[-1].findings == whole.findings
    return whole


@pytest.mark.parametrize("name", ["x.csv", "x.tsv"])
@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\r\r\n"])
def test_every_line_end_is_read(tmp_path, name, end):
    mark = "," if name == "x.csv" else "\t"
    table = read(tmp_path / name, end.join([f"text{mark}label", f"amber delta{mark}a", f"birch{mark}b", f"cedar{mark}a", ""]))
    assert table.columns == {"text": ["amber delta", "birch", "cedar"], "label": ["a", "b", "a"]}
    assert list(table.lines) == [2, 3, 4] and not table.findings


def test_line_ends_inside_quotes_do_not_tell_those_of_rows(tmp_path):
    table = read(tmp_path / "x.csv", 'text,label\r"a\nb",1\r"c\r\nd",2\r')
    assert table.columns == {"text": ["a\nb", "c\r\nd"], "label": ["1", "2"]}
    table = read(tmp_path / "x.csv", '"te\rxt",label\n"a\rb",1\n')
    assert table.columns == {"te\rxt": ["a\rb"], "label": ["1"]}


def test_a_carriage_return_that_pandas_leaves_without_quotes_is_part_of_its_cell(tmp_path):
    """pandas (to Python 3.12) quotes no carriage return where lines end in a line feed."""
    rows = "text,label\na\rb,1\nc,2\n"
    assert read(tmp_path / "x.csv", rows).columns == {"text": ["a\rb", "c"], "label": ["1", "2"]}
    assert read(tmp_path / "x.tsv", rows.replace(",", "\t")).columns == {"text": ["a\rb", "c"], "label": ["1", "2"]}


@SETTINGS
@given(rows=st.lists(st.tuples(TEXT, TEXT, st.sampled_from("xy")), min_size=1, max_size=6))
@pytest.mark.parametrize(("mark", "end"), [(",", "\r\n"), (";", "\n"), ("|", "\r"), ("\t", "\r\n")])
def test_what_the_csv_module_writes_comes_back_whatever_the_marks(tmp_path, mark, end, rows):
    made = io.StringIO()
    csv.writer(made, delimiter=mark, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([("k", "text", "label"), *rows])
    table = read(tmp_path / "x.csv", made.getvalue())
    assert table.columns == {name: [row[i] or None for row in rows] for i, name in enumerate(("k", "text", "label"))}


@pytest.mark.parametrize(
    ("name", "mark", "said"),
    [
        ("x.csv", ";", "the cells are separated by semicolons instead of commas."),
        ("x.csv", "|", "the cells are separated by vertical bars instead of commas."),
        ("x.csv", "\t", "the cells are separated by tabs instead of commas."),
        ("x.csv", "^", "the cells are separated by carets instead of commas."),
        ("x.csv", "~", "the cells are separated by tildes instead of commas."),
        ("x.tsv", ",", "the cells are separated by commas instead of tabs."),
        ("x.tab", ";", "the cells are separated by semicolons instead of tabs."),
    ],
)
def test_another_delimiter_is_read_and_said(tmp_path, name, mark, said):
    rows = pd.DataFrame({"text": ["a, b", "c; d | e", "f"], "score": ["1,5", "2,5", None]})
    made = rows.to_csv(index=False, sep=mark)
    table = read(tmp_path / name, made)
    assert table.columns == {"text": ["a, b", "c; d | e", "f"], "score": ["1,5", "2,5", None]}
    assert table.findings == (said,)


def test_commas_in_the_header_do_not_hide_semicolons(tmp_path):
    table = read(tmp_path / "x.csv", "id;text, or comment;label\n1;a;x\n2;b, c, d;y\n")
    assert list(table.columns) == ["id", "text, or comment", "label"] and table.columns["text, or comment"][1] == "b, c, d"
    table = read(tmp_path / "x.csv", "text;or,label\na;b,x\nc,y\n")  # even with commas, so these it is
    assert list(table.columns) == ["text;or", "label"] and not table.findings


@pytest.mark.parametrize(("first", "mark"), [("sep=;", ";"), ('"sep=|"', "|"), ("SEP=,", ","), ("sep=\t", "\t")])
def test_the_line_that_excel_reads_the_delimiter_from_is_none_of_the_rows(tmp_path, first, mark):
    table = read(tmp_path / "x.csv", f"{first}\r\ntext{mark}label\r\na{mark}1\r\nb{mark}2\r\n")
    assert table.columns == {"text": ["a", "b"], "label": ["1", "2"]} and list(table.lines) == [3, 4]
    assert table.findings == (f"the cells are separated by {mark!r}, as the first line declares.",)


def test_rows_of_empty_cells_are_left_out_and_counted(tmp_path):
    table = read(tmp_path / "x.csv", ",\ntext,label\na,1\n,\nb,2\n,,\n,\n")
    assert table.columns == {"text": ["a", "b"], "label": ["1", "2"]} and list(table.lines) == [3, 5]
    assert table.findings == ("3 rows left out, as every cell is empty.",)
    table = read(tmp_path / "x.csv", 'text\na\n""\nb\n')  # how the csv module writes a row of one missing value
    assert table.columns == {"text": ["a", None, "b"]} and not table.findings


def test_columns_at_the_end_without_a_name_or_a_value_are_left_out(tmp_path):
    table = read(tmp_path / "x.csv", "text,label,,,\na,1,,,\nb,2,,,\n")
    assert table.columns == {"text": ["a", "b"], "label": ["1", "2"]}
    assert table.findings == ("3 columns left out, without a name or a value.",)
    table = read(tmp_path / "x.csv", "text,label,,\na,1,,\nb,2,note,\n")
    assert table.columns == {"text": ["a", "b"], "label": ["1", "2"], "column 3": [None, "note"]}
    table = read(tmp_path / "x.csv", "text,label\na,1,\nb,2,,\n")
    assert table.columns == {"text": ["a", "b"], "label": ["1", "2"]}
    (tmp_path / "x.csv").write_text("text,label\na,1,x\n")
    with pytest.raises(BadInput, match="line 2: 3 cells found, expected 2"):
        read_table(str(tmp_path / "x.csv"))


def test_a_file_of_empty_rows_only_says_so(tmp_path):
    (tmp_path / "x.csv").write_text("text,label\n,\n,\n")
    for read_it in (read_table, lambda path: list(read_chunks(path, 2))):
        with pytest.raises(BadInput, match=r"x\.csv: no rows found"):
            read_it(str(tmp_path / "x.csv"))


def test_a_quoted_tab_before_an_empty_cell_is_no_cell_too_many(tmp_path):
    assert read(tmp_path / "x.tsv", 'a\tb\r\n"\t"\t\r\n').columns == {"a": ["\t"], "b": [None]}
    assert read(tmp_path / "x.tsv", "a\tb\nx\ty\t\n").columns == {"a": ["x"], "b": ["y"]}


def test_a_carriage_return_in_a_quoted_cell_of_tsv_shows_that_quotes_count(tmp_path):
    rows = 'a\tb\r\n"\r"\t,\r\nO\t"x\n\t "\r\n'
    assert read(tmp_path / "x.tsv", rows).columns == {"a": ["\r", "O"], "b": [",", "x\n\t "]}


def test_quotes_after_a_backslash_are_named(tmp_path):
    (tmp_path / "x.csv").write_text('text,label\n"a \\"b\\", c",1\n')
    with pytest.raises(
        BadInput, match=r"line 2: cells that cannot be separated .*, expected quotes within cells to be doubled"
    ):
        read_table(str(tmp_path / "x.csv"))


def test_a_title_above_the_header_is_told(tmp_path):
    table = read(tmp_path / "x.csv", "Feedback Q1,,\n,,\nID,Text,Mood\n1,so good,a\n")
    assert (
        table.findings[0] == "the header, line 1, names one of 3 columns; if it is a title, delete the lines above the header."
    )
    assert not read(tmp_path / "x.csv", ",Text,Mood\n1,so good,a\n").findings


def test_lone_marks_in_a_header_of_one_column_change_nothing(tmp_path):
    (tmp_path / "x.csv").write_text("text;label\na;1;x\nb\n")
    with pytest.raises(BadInput, match="line 1: the header is one cell with ';' in it, expected cells separated by commas"):
        read_table(str(tmp_path / "x.csv"))
