import math
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.data.values.numerals import PLAIN, Notation, are_codes, as_number, notation_of, sign_beside


@settings(max_examples=50, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**12), 10**12))
def test_what_python_writes_is_read_back(number):
    assert as_number(repr(number)) == as_number(number) == float(number)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-(10**9), 10**9), min_size=1), st.sampled_from(".,"), st.sampled_from(",. '\u2019\u00a0\u202f"))
def test_numbers_with_separators_are_read_in_the_notation_they_are_written_in(cents, decimal, thousands):
    if decimal == thousands:
        return
    marks = {",": thousands, ".": decimal}
    texts = ["".join(marks.get(c, c) for c in f"{number / 100:,.2f}") for number in [*cents, 123456789]]
    found = notation_of(texts)
    assert found.other is None
    assert [found.best.read(text) for text in texts] == [round(number / 100, 2) for number in [*cents, 123456789]]


@pytest.mark.parametrize(
    "text",
    [
        "1_000",
        "infinity",
        "nan",
        "inf",
        "0x1F",
        "١٢",
        "1e999",
        "",
        "-",
        ".",
        "e5",
        "1 000",
        "1,5",
        "1.2.3",
        "1\u22122",
        "\u2212\u22121",
    ],
)
def test_spellings_that_only_python_knows_and_others_are_no_plain_numbers(text):
    assert as_number(text) is None


@pytest.mark.parametrize(
    ("value", "number"), [(" -4 ", -4), ("3e1", 30), (".5", 0.5), ("7.", 7), ("\u22121.5", -1.5), (Decimal("1.5"), 1.5)]
)
def test_plain_numbers(value, number):
    assert as_number(value) == number


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        ("12 %", "%"), ("-3.5%", "%"), ("$ 3.50", "$"), ("US$1,200", "US$"), ("-£4", "£"), ("1.234,50 €", "€"),
        ("EUR 7", "EUR"),
        ("12", None), ("%", None), ("$ab", None), ("12 apples", None), ("A1", None), ("", None), ("5 % of 3", None),
    ],
)  # fmt: skip
def test_a_sign_beside_a_number(text, sign):
    assert sign_beside(text) == sign


@pytest.mark.parametrize("value", [True, None, math.nan, math.inf, [1], 10**400, Decimal("NaN")])
def test_other_values_are_no_numbers(value):
    assert as_number(value) is None


@pytest.mark.parametrize(
    ("texts", "best", "numbers"),
    [
        (["3,5", "4"], Notation(","), [3.5, 4]),
        (["0,125", "1,250"], Notation(","), [0.125, 1.25]),
        (["1,234,567", "12"], Notation(".", ","), [1234567, 12]),
        (["1.234.567", "1.234"], Notation(",", "."), [1234567, 1234]),
        (["1.234", "2.345"], PLAIN, [1.234, 2.345]),
        (["1 234,5", "7"], Notation(",", " "), [1234.5, 7]),
        (["1e-05", "0.5"], PLAIN, [1e-05, 0.5]),
    ],
)
def test_the_notation_is_that_of_the_column(texts, best, numbers):
    found = notation_of(texts)
    assert (found.best, found.other) == (best, None) and [found.best.read(text) for text in texts] == numbers


def test_commas_that_may_be_either_are_told():
    found = notation_of(["1,234", "12"])
    assert {found.best.read("1,234"), found.other.read("1,234")} == {1.234, 1234}


def test_one_that_is_no_number_leaves_the_notation_of_the_others():
    assert notation_of(["3,5", "4,5", "abc"]).best == Notation(",")
    assert notation_of(["a", "b", "3,5"]).best == PLAIN


@pytest.mark.parametrize(
    ("values", "codes"),
    [
        (["007", "010"], True), (["2E3", "15"], True), (["1e5", "2"], True), (["+4917012345", "+4917012346"], True),
        (["20200131", "20200201"], True), ([5551234567, 5551234568], True), ([20200131.0, 20200201.0], True), (["007.0"], True),
        (["7", "10"], False), ([7, 10], False), (["0.5", "1e5"], False), (["1e-05", "1E+05"], False), (["0,5"], False),
        ([1234567, 12345678], False), ([0.5, 1.0], False), ([], False), (["0", "1"], False), (["-12345678"], False),
    ],
)  # fmt: skip
def test_codes_have_no_amount(values, codes):
    assert are_codes(values) is codes
