import pytest

from trunkline.training.guessed import missing_in


@pytest.mark.parametrize(
    ("overrides", "missing"),
    [
        ([], None),
        (["training.epochs=3", "data.missing=[nan, N/A, no]"], ["nan", "N/A", "no"]),
        (["data.missing=nan"], ["nan"]),
        (["data.missing=[]"], []),
        (["data.missing=[nan]", "data.missing=null"], None),
        (["data.missing={a: 1}"], None),  # refused with the config
        (["data.missing_too=[nan]"], None),
    ],
)
def test_the_strings_that_overrides_list_as_missing_are_known_before_columns_are_looked_at(overrides, missing):
    assert missing_in(overrides) == missing
