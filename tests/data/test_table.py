import pytest

from trunkline.data.table import Table, concatenate
from trunkline.errors import BadInput


def test_rows_are_named_as_a_user_finds_them():
    assert Table("a.csv", {"x": [1, 2]}, [2, 5]).where(1) == "a.csv line 5"
    assert Table("a.parquet", {"x": [1, 2]}).where(1) == "a.parquet row 2"


def test_a_missing_column_names_the_nearest():
    table = Table("a.csv", {"review": [1], "stars": [2]})
    with pytest.raises(BadInput, match=r"a\.csv: column for data\.text.*'revue'.*did you mean 'review'"):
        table.column("revue", "data.text")
    with pytest.raises(BadInput, match="expected one of review, stars"):
        table.column("zzz")


def test_select_keeps_lines_and_files():
    both = concatenate([Table("a", {"x": [1, 2]}, [1, 3]), Table("b", {"x": [3]}, [7])])
    assert len(both) == 3 and both.source == "a + b"
    chosen = both.select([2, 0])
    assert chosen.columns == {"x": [3, 1]}
    assert [chosen.where(0), chosen.where(1)] == ["b line 7", "a line 1"]


def test_concatenating_orders_columns_by_name_not_place():
    both = concatenate([Table("a", {"x": [1], "y": [2]}), Table("b", {"y": [4], "x": [3]})])
    assert both.columns == {"x": [1, 3], "y": [2, 4]} and both.lines is None


def test_other_columns_are_refused_and_named():
    with pytest.raises(BadInput, match=r"b: its columns differ from those of a in 'y'"):
        concatenate([Table("a", {"x": [1], "y": [2]}), Table("b", {"x": [3]})])
