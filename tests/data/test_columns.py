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


def test_label_sets():
    assert columns.label_sets(table(["b", "a", "b"], [], None, [1]), "c") == [["b", "a"], [], None, ["1"]]
    assert columns.label_sets(table("a| b", "a||", None, "|"), "c", separator="|") == [["a", "b"], ["a"], [], []]
    refused(
        r"line 10: column 'c' holds a string, expected a list of labels, or a separator",
        columns.label_sets,
        table("SECRET"),
        "c",
    )
    refused(r"line 10: column 'c' holds a list, expected labels", columns.label_sets, table([["a"]]), "c")


def test_indicators():
    many = Table("x.csv", {"a": ["1", "0", None, 1], "b": [0, True, "1", "no"]}, [2, 3, 4, 5])
    assert columns.indicators(many, ["a", "b"]) == [["a"], ["b"], None, ["a"]]
    refused(r"x line 7: column 'a' holds '2', expected 0 or 1", columns.indicators, Table("x", {"a": [2]}, [7]), ["a"])


def test_what_may_be_a_text_is_not_shown():
    refused(r"line 10: column 'c' holds a string, expected 0 or 1", columns.indicators, table("SECRET words"), ["c"])
    for tag in ("SECRET", "SECRET-words"):
        refused(r"line 10: .* found a word that is no tag", columns.tag_lists, table([tag], tokens=[["x"]]), "c", "tokens")


def test_numbers():
    assert columns.numbers(table(1, 2.5, "3e1", " -4 ", None), "c") == [1.0, 2.5, 30.0, -4.0, None]
    for bad in ("SECRET", float("nan"), float("inf"), "1e999", True, [1], 10**400):
        refused(r"line 10: column 'c' holds .*, expected a finite number", columns.numbers, table(bad), "c")


def test_tags_belong_to_their_tokens():
    rows = table(["I-A", "I-A"], None, ["O"], tokens=[["x", "y"], ["x"], None])
    assert columns.tag_lists(rows, "c", "tokens") == [["B-A", "I-A"], None, None]
    short = table(["O"], ["O"], tokens=[["x"], ["SECRET", "y"]])
    refused(r"line 20: 2 tokens in column 'tokens' but 1 tags in column 'c'", columns.tag_lists, short, "c", "tokens")
    noun = table(["NOUN"], tokens=[["x"]])
    refused(
        r"line 10: column 'c', found a word that is no tag, expected O or one of B- I-", columns.tag_lists, noun, "c", "tokens"
    )
    words = table(["O"], tokens=["SECRET"])
    refused(r"line 10: column 'tokens' holds a string, expected a list of strings", columns.tag_lists, words, "c", "tokens")


def span(start, end, label="L"):
    return {"start": start, "end": end, "label": label}


def test_spans_lie_within_their_text():
    rows = table([span(2, 4), span(0, 2, 7)], [], None)
    assert columns.span_lists(rows, "c", ["abcd", "", "x"]) == [[(0, 2, "7"), (2, 4, "L")], [], None]
    for bad in (span(0, 5), span(-1, 2), span(2, 2), span(3, 2)):
        refused(
            r"line 10: column 'c' has the span .* off its text of 4 characters", columns.span_lists, table([bad]), "c", ["abcd"]
        )
    for bad in (span("0", 2), span(0, 2.0), span(0, True), span(0, 2, None), span(0, 2, "")):
        refused(r"line 10: column 'c' has a span whose start or end", columns.span_lists, table([bad]), "c", ["abcd"])
    for bad in ([{"start": 1, "end": 2}], ["SECRET"], "SECRET"):
        refused(r"line 10: column 'c' holds", columns.span_lists, table(bad), "c", ["abcd"])
