import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.data.values import literals
from trunkline.data.values.literals import read_literal
from trunkline.data.values.written import cell

SCALARS = st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text(max_size=8)
VALUES = st.recursive(
    st.lists(SCALARS, max_size=4), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner)
)


@settings(max_examples=50, deadline=None)
@given(VALUES)
def test_what_json_and_python_write_is_read_back(value):
    assert read_literal(json.dumps(value)) == value
    assert read_literal(" " + cell(value)) == value  # as Trunkline writes it
    text = repr(value)
    # a NUL cannot be in Python source, and strings side by side without a blank are two spellings of something else
    assert "\\x00" in text or "\\x01" in text or read_literal(text) == value


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(st.characters(categories=["L", "N", "P", "Zs"]), max_size=6), min_size=1, max_size=4))
def test_arrays_of_strings_are_read_as_numpy_prints_them(words):
    array = np.array(words)
    assert read_literal(str(array)) == words
    assert read_literal(repr(array)) == words
    assert read_literal(repr(list(array))) == words  # [np.str_('a'), ...]
    assert read_literal(repr(array.astype(object))) == words


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (str(np.array([0, 1, 0])), [0, 1, 0]),
        (str(np.array([0.0, 1.0, 0.0])), [0, 1, 0]),
        (str(np.array([True, False])), [True, False]),
        (str(np.array([-1, 2])), [-1, 2]),
        (str(np.array([[0, 1], [1, 0]])), [[0, 1], [1, 0]]),
        (repr([np.int64(1), np.float64(0.5), np.True_]), [1, 0.5, True]),
        ("('joy', 'calm')", ["joy", "calm"]),
        ("{'joy', 'calm'}", ["calm", "joy"]),
        ("frozenset({'joy'})", ["joy"]),
        ("set()", []),
        ("['joy', null, true]", ["joy", None, True]),
        ("['joy', nan, 'nan']", ["joy", None, "nan"]),
        ("[{'start': 0, 'end': 3, 'label': \"it's\"}]", [{"start": 0, "end": 3, "label": "it's"}]),
        (r"['a\d']", ["a\\d"]),  # a backslash that escapes nothing
        ("['a [b] (c), \"d\"']", ['a [b] (c), "d"']),
    ],
)
def test_other_spellings(text, value):
    assert read_literal(text) == value


@pytest.mark.parametrize(
    "text",
    ["joy", "", "[PAD]", "(1)", "[joy, calm]", "['it''s']", "['a', ", "[__import__('os').getcwd()]", "[1+1]", "{'a': b}",
     '"joy"', "[" * 100_000, "('a'" * 5000, "[f'{1}']", "['a' for a in 'b']", "['a' ... 'z']"],
)  # fmt: skip
def test_what_is_no_literal_is_none(text):
    assert read_literal(text) is None


def test_a_long_text_is_read_as_json_only(monkeypatch):
    monkeypatch.setattr(literals, "LONGEST", 10)
    assert read_literal('["a long one", "b"]') == ["a long one", "b"]
    assert read_literal("['a long one', 'b']") is None
