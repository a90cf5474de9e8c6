"""Excel workbooks and spaCy's binary files, against what openpyxl, pandas and spaCy write."""

import builtins
import datetime

import pandas as pd
import pytest

from trunkline.data.guess import guess_columns
from trunkline.data.sources import locate, read_chunks, read_table
from trunkline.errors import BadInput
from trunkline.training.guessed import relative


def without(monkeypatch, package):
    real = builtins.__import__

    def refuse(name, *rest):
        if name.partition(".")[0] == package:
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)


@pytest.fixture
def book():
    return pytest.importorskip("openpyxl").Workbook()


def test_a_workbook_of_pandas_comes_back_with_its_types(tmp_path):
    pytest.importorskip("openpyxl")
    day = datetime.datetime(2024, 2, 29)
    frame = pd.DataFrame({"text": ["amber, x", "birch\n", None], "n": [1, 2, 3], "score": [0.5, None, 1.5], "day": [day] * 3})
    frame["yes"] = [True, False, True]
    frame.to_excel(tmp_path / "x.xlsx", index=False)
    table = read_table("x.xlsx", base=tmp_path)
    assert table.columns == {
        "text": ["amber, x", "birch\n", None],
        "n": [1, 2, 3],
        "score": [0.5, None, 1.5],
        "day": [day] * 3,
        "yes": [True, False, True],
    }
    assert table.where(2).endswith("x.xlsx row 4") and not table.findings
    pieces = list(read_chunks("x.xlsx", 2, base=tmp_path))
    assert [piece.columns["n"] for piece in pieces] == [[1, 2], [3]] and pieces[1].where(0).endswith("row 4")


def test_empty_rows_columns_and_sheets_of_a_workbook(tmp_path, book):
    sheet = book.active
    for row in ([], ["text", "label", None, ""], ["a", 1], [None, "", None], ["b", "#N/A", None], [], [""]):
        sheet.append(row)
    sheet["F9"].number_format = "0.00"  # formatted, nothing in it
    book.create_sheet("empty", 0)
    book.create_sheet("second").append(["x"])
    book.save(tmp_path / "x.xlsx")
    table = read_table("x.xlsx", base=tmp_path)
    assert table.columns == {"text": ["a", "b"], "label": [1, None]} and list(table.rows) == [3, 5]
    assert table.findings == (
        f"1 sheet not read ('second'), only 'Sheet'; {table.source}:second as the source reads 'second'.",
        "1 row left out, as every cell is empty.",
        "1 cell with an error such as #N/A read as missing.",
    )
    assert [piece.columns for piece in read_chunks("x.xlsx", 9, base=tmp_path)] == [table.columns]


def test_a_sheet_is_chosen_by_its_name_and_a_title_is_no_header(tmp_path, book):
    book.active.title = "Read me"
    book.active.append(["Feedback of the first quarter"])
    book.active.append(["Written by a program"])
    titled, plain = book.create_sheet("All data"), book.create_sheet("Plain")
    for row in (["Feedback Q1"], ["draft"], [], ["ID", "Feedback", "Score"], [1, "so good", 2.5], [2, "too slow", 1]):
        titled.append(row)
    for row in (["text"], ["so good", "yes"], ["too slow", "no"], ["fine", "yes"]):  # the second column has no name
        plain.append(row)
    book.save(tmp_path / "x.xlsx")
    cover = read_table("x.xlsx", base=tmp_path)
    said = "2 sheets not read ('All data', 'Plain'), only 'Read me'; 'x.xlsx:All data' as the source reads 'All data'."
    assert cover.columns == {"Feedback of the first quarter": ["Written by a program"]} and cover.findings == (said,)
    with pytest.raises(BadInput, match=r"found no column that looks like .*; 2 sheets not read \('All data', 'Plain'\)"):
        guess_columns(cover)
    source = locate("x.xlsx:All data", tmp_path)
    table = read_table(source)
    assert source == str(tmp_path / "x.xlsx:All data") and relative(source, tmp_path) == "x.xlsx:All data"
    assert table.columns == {"ID": [1, 2], "Feedback": ["so good", "too slow"], "Score": [2.5, 1]} and list(table.rows) == [
        5,
        6,
    ]
    assert table.findings == ("2 rows left out above row 4, which looks like the header.",)
    assert [piece.columns for piece in read_chunks(source, 9)] == [table.columns]
    rest = read_table("x.xlsx:Plain", base=tmp_path)
    assert list(rest.columns) == ["text", "column 2"] and "if it is a title and row 2 the header" in rest.findings[0]
    with pytest.raises(BadInput, match=r"x\.xlsx:all data: sheet: unknown name 'all data'; did you mean 'All data'\?"):
        read_table("x.xlsx:all data", base=tmp_path)


def test_a_token_a_row_in_a_workbook(tmp_path, book):
    for row in (["Sentence #", "Word", "Tag"], ["S1", "amber", "B-x"], [None, 2, "O"], ["S2", "birch", "O"], [None, "is", "O"]):
        book.active.append(row)
    book.save(tmp_path / "x.xlsx")
    assert read_table("x.xlsx", base=tmp_path).columns["tokens"] == [["amber", "2"], ["birch", "is"]]


def test_broken_workbooks_are_one_sentence(tmp_path, book, monkeypatch):
    book.active.append(["text", "text"])
    book.active.append(["a", "b"])
    book.save(tmp_path / "x.xlsx")
    with pytest.raises(BadInput, match=r"x\.xlsx row 1: the header names column 'text' twice"):
        read_table("x.xlsx", base=tmp_path)
    (tmp_path / "y.xlsx").write_bytes(b"no workbook")
    with pytest.raises(BadInput, match=r"y\.xlsx: not an Excel workbook that can be read"):
        read_table("y.xlsx", base=tmp_path)
    without(monkeypatch, "openpyxl")
    with pytest.raises(BadInput, match=r"x\.xlsx: reading Excel workbooks needs openpyxl: pip install 'trunkline\[xlsx\]'"):
        read_table("x.xlsx", base=tmp_path)


def test_a_docbin_has_texts_spans_and_labels(tmp_path):
    spacy = pytest.importorskip("spacy")
    nlp = spacy.blank("en")
    docs = [nlp("amber delta walk"), nlp("Bo is here")]
    docs[0].set_ents([spacy.tokens.Span(docs[0], 0, 2, "TREE")])
    docs[0].cats, docs[1].cats = {"A": 1.0, "B": 0.0}, {"A": 0.0, "B": 1.0}
    docs[0].spans["sc"] = [docs[0][2:3]]
    spacy.tokens.DocBin(docs=docs).to_disk(tmp_path / "x.spacy")
    table = read_table("x.spacy", base=tmp_path)
    assert table.columns == {
        "text": ["amber delta walk", "Bo is here"],
        "spans": [[{"start": 0, "end": 11, "label": "TREE"}], []],
        "labels": [["A"], ["B"]],
    }
    assert table.findings[0] == "1 span in groups left out, as the texts have entities."
    assert [len(piece) for piece in read_chunks("x.spacy", 1, base=tmp_path)] == [1, 1]
    (tmp_path / "y.spacy").write_bytes(b"no docbin")
    with pytest.raises(BadInput, match=r"y\.spacy: not a DocBin that can be read"):
        read_table("y.spacy", base=tmp_path)


def test_a_docbin_without_spacy_names_the_way_out(tmp_path, monkeypatch):
    without(monkeypatch, "spacy")
    (tmp_path / "x.spacy").write_bytes(b"x")
    with pytest.raises(BadInput, match=r"x\.spacy: reading a DocBin needs spaCy: pip install 'trunkline\[spacy\]'; or export"):
        read_table("x.spacy", base=tmp_path)
