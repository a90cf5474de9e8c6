"""Offsets counted in other units, against Python's own encoders, and the causes that are named only where they hold."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.data.corpus import segment
from trunkline.data.values.offsets import in_characters, likely_cause

ANY = st.text(st.sampled_from("ab \u00e9\u20ac\U0001f600\U0001f44d\U0001f3fd\r\n"), max_size=12)


def size(text, counted):
    return len(text.encode({"utf-16": "utf-16-le", "bytes": "utf-8"}[counted])) // {"utf-16": 2, "bytes": 1}[counted]


@settings(deadline=None, max_examples=50)
@given(ANY, st.data(), st.sampled_from(["utf-16", "bytes"]))
def test_offsets_in_other_units_are_those_of_the_encoded_text(text, data, counted):
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    given = (size(text[:start], counted), size(text[:end], counted), "x")
    assert in_characters([given], text, counted) == [(start, end, "x")]
    assert in_characters([given], text, "characters") == [given]
    beyond = size(text, counted)
    assert in_characters([(beyond + 1, beyond + 2, "x"), (-1, 0, "x")], text, counted) == [
        (len(text) + 1, len(text) + 2, "x"),
        (-1, 0, "x"),
    ]


def test_an_offset_within_a_character_takes_all_of_it():
    assert in_characters([(1, 3, "x")], "\U0001f600\U0001f600a", "utf-16") == [(0, 2, "x")]


PLAIN = [f"as {'very ' * (number % 3)}far\r\nfrom Oslo {number}" for number in range(20)]
TEXTS = [f"\U0001f600 caf\u00e9 {'very ' * (number % 3)}far\r\nfrom Oslo {number}" for number in range(20)]


def rows(make):
    """Each text with its words, and the span of "Oslo" as `make` counts it."""
    return [([(*make(text, text.index("Oslo"), text.index("Oslo") + 4), "city")], text, segment(text)) for text in TEXTS]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda text, a, b: (size(text[:a], "utf-16"), size(text[:b], "utf-16")), "UTF-16 code units: `offsets: utf-16`"),
        (lambda text, a, b: (size(text[:a], "bytes"), size(text[:b], "bytes")), "bytes of UTF-8: `offsets: bytes`"),
        (lambda text, a, b: (a - 1, b - 1), "\\r\\n counts as one"),
        (lambda text, a, b: (a, b - 1), "their end is the last character"),
        (lambda text, a, b: (a + 1, b), "number 1 and ends are inclusive"),
    ],
)
def test_the_way_that_offsets_are_counted_is_named(make, said):
    assert said in likely_cause(rows(make))


def test_offsets_counted_from_one_are_told_from_line_ends():
    one_line = [text.replace("\r\n", " ") for text in PLAIN]
    found = [([(text.index("from") + 1, text.index("from") + 5, "x")], text, segment(text)) for text in one_line]
    assert "subtract 1 from starts and ends" in likely_cause(found)
    counted = [([(text.index("from") - 1, text.index("from") + 3, "x")], text, segment(text)) for text in PLAIN]
    assert "\\r\\n counts as one character" in likely_cause(counted)


def test_no_cause_is_named_where_none_is_likely():
    right = rows(lambda text, a, b: (a, b))
    assert likely_cause(right) is None
    within = rows(lambda text, a, b: (a + 1, b - 1))
    assert likely_cause(within) is None
    one_off = rows(lambda text, a, b: (a, b - 1))[:1]  # one span cut short by hand among many right ones
    assert likely_cause([*right, *one_off]) is None
    assert likely_cause([]) is None
