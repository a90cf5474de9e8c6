import math
import shlex
from decimal import Decimal

import pandas
import pytest
import yaml

from trunkline.data.values.missing import is_listed, is_missing, missing_hint, spells_missing
from trunkline.training.guessed import missing_in


@pytest.mark.parametrize("value", [None, math.nan, pandas.NA, pandas.NaT, Decimal("NaN")])
def test_missing_in_any_format(value):
    assert is_missing(value)


@pytest.mark.parametrize("value", ["", "nan", 0, 0.0, False, [], {}, Decimal("1"), b"", pandas.Timestamp("2020-01-01")])
def test_there(value):
    assert not is_missing(value)


def test_every_spelling_that_pandas_reads_as_missing_is_known():
    from pandas._libs.parsers import STR_NA_VALUES

    assert all(spells_missing(word) for word in STR_NA_VALUES if word.strip())
    assert spells_missing(" n/a ") and spells_missing("-")
    assert not any(map(spells_missing, ("", "no", "0", "nano", "a long label that begins with nan")))


def test_listed_strings_count_exactly_and_numbers_by_their_digits():
    listed = {"nan", "-1"}
    assert is_listed(" nan ", listed) and is_listed(-1, listed) and is_listed(-1.0, listed) and is_listed("-1", listed)
    assert not any(is_listed(value, listed) for value in ("NaN", -1.5, True, 1, None, math.nan, math.inf, ["nan"]))


def test_the_hint_at_missing_values_can_be_typed_and_read():
    words = ["N/A", "#n/a", "-", "no", "a b", "it's", " nan "]
    typed, _, rest = missing_hint(words).partition(" (in a config ")
    (override,) = shlex.split(typed)
    wanted = [word.strip() for word in words]
    assert missing_in([override]) == wanted and yaml.load(rest.split("`")[1], yaml.BaseLoader) == {"missing": wanted}
