import pytest

from trunkline.data.corpus import View
from trunkline.data.empty import doubtful_texts, empty_rows, without_empty
from trunkline.data.table import Table
from trunkline.errors import BadInput

NOTHING = [None, "", "  \t", "\n", float("nan")]


@pytest.mark.parametrize("nothing", NOTHING)
def test_a_row_without_a_text_is_skipped_and_counted(nothing):
    table = Table("r.csv", {"text": ["a", nothing, "b"], "label": ["x", "y", "z"]}, [2, 3, 4])
    kept, said = without_empty(table, "skip", View("text", None, None))
    assert kept.columns == {"text": ["a", "b"], "label": ["x", "z"]} and kept.where(1) == "r.csv line 4"
    assert said == "1 row has no text and is skipped (r.csv line 3)."
    with pytest.raises(BadInput, match=r"r.csv line 3: found no text, expected one in column 'text'"):
        without_empty(table, "refuse", View("text", None, None))
    clips = View("text", None, None, audio=True)
    assert without_empty(table, "skip", clips)[1] == "1 row has no audio clip and is skipped (r.csv line 3)."
    with pytest.raises(BadInput, match="found no audio clip, expected one in column 'text'"):
        without_empty(table, "refuse", clips)


def test_several_rows_name_the_first_and_a_file_of_none_is_refused():
    table = Table("r.csv", {"text": [*NOTHING, "a"]}, list(range(2, 8)))
    assert (
        without_empty(table, "skip", View("text", None, None))[1]
        == "5 rows have no text and are skipped (the first is r.csv line 2)."
    )
    with pytest.raises(BadInput, match=r"r.csv: found no row with a text in column 'text'"):
        without_empty(Table("r.csv", {"text": NOTHING}), "skip", View("text", None, None))
    whole = Table("r.csv", {"text": ["a", 3]})  # what is no text is refused elsewhere
    assert without_empty(whole, "skip", View("text", None, None)) == (whole, None)


def test_pairs_need_both_texts_and_tokens_stand_for_a_text():
    table = Table("r", {"a": ["p", "q", " "], "b": ["r", None, "s"]})
    assert empty_rows(table, View("a", "b", None)) == [1, 2]
    assert empty_rows(table, View("a", None, None)) == [2]
    words = Table("r", {"text": ["p", None, "", None], "w": [None, ["q"], [" ", ""], []]})
    assert empty_rows(words, View("text", None, "w")) == [2, 3]
    assert empty_rows(words, View(None, None, "w")) == [0, 2, 3]
    assert empty_rows(words, View("other", None, "w")) == [0, 2, 3]
    assert empty_rows(words, View("other", None, None)) == []  # a column that is not there is for others to refuse


def test_texts_that_may_stand_for_a_missing_one_are_told_and_skipped_where_they_are_listed():
    table, view = Table("r.csv", {"text": ["a b", "N/A", "nan", " N/A ", "?", "no"]}), View("text", None, None)
    said = doubtful_texts(table, view, None)
    assert said is not None and said.startswith("3 texts are 'N/A' (2) and 'nan' (1), which often stands for a missing value; ")
    assert said.endswith(
        "'data.missing=[N/A, nan]' (in a config `missing: [N/A, nan]` under `data`, in Python "
        "missing=['N/A', 'nan']) skips these rows."
    )
    assert doubtful_texts(table, view, []) is None and "'nan' (1)" in (doubtful_texts(table, view, ["N/A"]) or "")
    kept, skipped = without_empty(table, "skip", view, ["N/A", "no"])  # "no" may be a text, whatever the labels are
    assert (
        kept.columns["text"] == ["a b", "nan", "?", "no"] and skipped is not None and skipped.startswith("2 rows have no text")
    )
    assert doubtful_texts(Table("r.csv", {"text": ["a b", "?"]}), view, None) is None
    marks = Table("r.csv", {"text": ["a b", "-", "--", " - "]})
    assert "3 texts are '-' (2) and '--' (1), which often stands for" in (doubtful_texts(marks, view, None) or "")
    assert without_empty(marks, "skip", view, ["-", "--"])[0].columns["text"] == ["a b"]
