import datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.data import columns
from trunkline.data.table import Table
from trunkline.errors import BadInput


def table(*values, **more):
    return Table("x.jsonl", {"c": list(values), **more}, [10 * (i + 1) for i in range(len(values))])


def refused(match, read, *args, **kwargs):
    with pytest.raises(BadInput, match=match) as caught:
        read(*args, **kwargs)
    assert "\n" not in str(caught.value) and "SECRET" not in str(caught.value)


@settings(deadline=None, max_examples=50)
@given(st.text(st.characters(), max_size=20))
def test_cleaned_texts_keep_their_length_and_have_a_utf8_form(text):
    cleaned = columns.clean(text)
    assert len(cleaned) == len(text)
    for before, after in zip(text, cleaned, strict=True):
        assert after == ("\ufffd" if 0xD800 <= ord(before) < 0xE000 else before)
    cleaned.encode("utf-8")


def test_texts():
    assert columns.texts(table("a", "", "\ud83d!"), "c") == ["a", "", "\ufffd!"]
    assert columns.optional_texts(table("a", None), "c") == ["a", None]
    refused(r"x\.jsonl line 20: no text, expected a string in column 'c'", columns.texts, table("a", None), "c")
    refused(r"x\.jsonl line 20: column 'c' holds a number, expected a string", columns.texts, table("a", 3), "c")
    refused(r"line 10: column 'c' holds a list", columns.texts, table(["SECRET"]), "c")
    refused(r"column for data\.text.*'tex'.*expected one of c", columns.texts, table("a"), "tex")


def test_labels():
    assert columns.labels(table("a", 1, 1.0, -2, True, False, None), "c") == ["a", "1", "1", "-2", "true", "false", None]
    refused(r"line 20: column 'c' holds a number, expected a label", columns.labels, table("a", 1.5), "c")
    refused(r"line 10: column 'c' holds an object, expected a label", columns.labels, table({"SECRET": 1}), "c")


def test_what_may_be_a_text_is_not_shown():
    for tag in ("SECRET", "SECRET-words"):
        refused(r"line 10: .* found a word that is no tag", columns.tag_lists, table([tag], tokens=[["x"]]), "c", "tokens")


def test_numbers():
    assert columns.numbers(table(1, 2.5, "3e1", " -4 ", None), "c") == [1.0, 2.5, 30.0, -4.0, None]
    for bad in ("SECRET", "1_000", float("inf"), "1e999", True, [1], 10**400):
        refused(r"line 10: column 'c' holds .*, expected a finite number", columns.numbers, table(bad), "c")


def test_numbers_with_a_percent_sign_or_a_currency_are_refused_with_what_to_do():
    for value, sign in (("$ 3.50", "$"), ("12 %", "%")):
        with pytest.raises(BadInput) as error:
            columns.numbers(table("7", value), "c")
        expected = f"a number alone; remove the sign from the whole column (in pandas: .str.replace({sign!r}, '', regex=False))"
        assert str(error.value) == f"x.jsonl line 20: column 'c' holds a number with {sign!r} beside it, expected {expected}"


def test_numbers_in_the_notation_of_their_column_and_missing_ones():
    assert columns.numbers(table("3,5", "4", "N/A", "-", " ", float("nan"), 2), "c") == [3.5, 4, None, None, None, None, 2]
    assert columns.numbers(table("1,234,567", "8"), "c") == [1234567, 8]
    assert columns.numbers(table("7", "-999", -999, "1"), "c", missing=["-999"]) == [7, None, None, 1]
    refused(
        r"line 20: column 'c' holds '1,234', which may be 1.234 or 1,234; expected a decimal point and nothing between",
        columns.numbers, table("12", "1,234"), "c",
    )  # fmt: skip
    assert columns.numbers(table("7", "N/A"), "c", missing=["x"]) == [7, None]
    refused(r"line 20: column 'c' holds a string", columns.numbers, table("7", "N/A"), "c", missing=[])
    assert columns.notation(table("3,5", "nan"), "c").words == "a decimal comma"


def test_missing_labels():
    nan = float("nan")
    assert columns.labels(table("yes", "nan", nan, " ", None), "c") == ["yes", "nan", None, None, None]
    assert columns.labels(table("yes", "nan", "NaN"), "c", missing=["nan"]) == ["yes", None, "NaN"]
    assert columns.labels(table(2, -1, 3), "c", missing=["-1"]) == ["2", None, "3"]
    assert columns.labels(table("2", "N/A", "3"), "c") == ["2", None, "3"]
    assert columns.labels(table("2", "N/A", "3", "x"), "c", missing=["x"]) == ["2", None, "3", None]
    assert columns.labels(table("2", "N/A", "3"), "c", missing=[]) == ["2", "N/A", "3"]


def test_labels_of_other_types():
    days = table(datetime.date(2020, 1, 31), datetime.date(2020, 2, 1))
    assert columns.labels(days, "c") == ["2020-01-31", "2020-02-01"]
    assert columns.labels(table(datetime.datetime(2020, 1, 31), None), "c") == ["2020-01-31", None]
    assert columns.labels(table(Decimal("1.50"), Decimal("2")), "c") == ["1.50", "2"]
    assert columns.labels(table("äh".encode(), b"b"), "c") == ["äh", "b"]
    assert columns.labels(table(1.5, 2, None), "c") == ["1.5", "2.0", None]  # as a data frame writes them to CSV
    refused(r"line 10: column 'c' holds bytes, expected a label", columns.labels, table(b"\xff"), "c")


@pytest.mark.parametrize("cells", [["['a', 'b']", "['b']"], ['{"a": 1}', '{"b": 1}'], ["[1, 0]", "[0, 1]"]])
def test_lists_and_objects_written_as_text_are_no_labels(cells):
    refused(r"line 10: column 'c' holds an? (list|object), expected a label", columns.labels, table(*cells), "c")


def test_lists_of_tokens_tags_and_spans_may_be_written_as_text():
    rows = table('["O", "B-A"]', "['O']", None, tokens=["['x', 'y']", '["z"]', "nan"])
    assert columns.tag_lists(rows, "c", "tokens") == [["O", "B-A"], ["O"], None]
    spans = table('[{"start": 0, "end": 1, "label": "L"}]', "[{'start': 1, 'end': 2, 'label': 7}]", "[]", None)
    assert columns.span_lists(spans, "c", ["abc"] * 4) == [[(0, 1, "L")], [(1, 2, "7")], [], None]


def test_tags_belong_to_their_tokens():
    rows = table(["I-A", "I-A"], None, ["O"], tokens=[["x", "y"], ["x"], None])
    assert columns.tag_lists(rows, "c", "tokens") == [["B-A", "I-A"], None, None]
    short = table(["O"], ["O"], tokens=[["x"], ["SECRET", "y"]])
    refused(r"line 20: 2 tokens in column 'tokens' but 1 tags in column 'c'", columns.tag_lists, short, "c", "tokens")
    noun = table(["NOUN"], tokens=[["x"]])
    refused(
        r"line 10: column 'c', found a word that is no tag, expected O or one of B- I-", columns.tag_lists, noun, "c", "tokens"
    )
    numbers = table([3, 0], tokens=[["x", "y"]])
    refused(
        r"line 10: column 'c' holds a number as value 1 of its list, expected a list of strings; if these are tags, "
        r"write their names in the place of the numbers, or read the data from a folder that `datasets` saved with",
        columns.tag_lists, numbers, "c", "tokens",
    )  # fmt: skip
    words = table(["O"], tokens=["SECRET"])
    refused(r"line 10: column 'tokens' holds a string, expected a list of strings", columns.tag_lists, words, "c", "tokens")


def span(start, end, label="L"):
    return {"start": start, "end": end, "label": label}


def test_spans_are_read_as_they_stand():
    rows = table([span(2, 4), span(0, 2, 7)], [], None, [span(-1, 9), span(3, 2)])
    assert columns.span_lists(rows, "c") == [[(0, 2, "7"), (2, 4, "L")], [], None, [(-1, 9, "L"), (3, 2, "L")]]
    for bad in (span("0", 2), span(0, 2.0), span(0, True), span(0, 2, None), span(0, 2, "")):
        refused(r"line 10: column 'c' has a span whose start or end", columns.span_lists, table([bad]), "c")
    for bad in ([{"start": 1, "end": 2}], ["SECRET"], "SECRET"):
        refused(r"line 10: column 'c' holds", columns.span_lists, table(bad), "c")


def test_a_list_of_one_label_is_that_label():
    assert columns.labels(table(["a"], ["b"], None, ["a"]), "c") == ["a", "b", None, "a"]
    refused(r"line 20: column 'c' holds a list, expected a label", columns.labels, table(["a"], ["a", "b"]), "c")


def test_spans_where_tokens_or_tags_are_expected_are_called_objects():
    spans = Table("x.jsonl", {"tags": [[{"start": 0, "end": 6, "label": "SECRET"}]], "words": [["a"]]})
    refused(
        "column 'tags' holds a list of objects, such as spans, expected a list of strings", columns.token_lists, spans, "tags"
    )
