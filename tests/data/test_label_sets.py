import json

import pytest

from trunkline.data.columns import cells, labels
from trunkline.data.label_sets import holed, indicators, label_sets, told_single, vector_length
from trunkline.data.table import Table
from trunkline.errors import BadInput


def table(*values, **more):
    return Table("x.jsonl", {"c": list(values), **more}, [10 * (i + 1) for i in range(len(values))])


def refused(match, read, *args, **kwargs):
    with pytest.raises(BadInput, match=match) as caught:
        read(*args, **kwargs)
    assert "\n" not in str(caught.value) and "SECRET" not in str(caught.value)


def test_label_sets():
    assert label_sets(table(["b", "a", "b"], [], None, [1]), "c") == [["b", "a"], [], None, ["1"]]
    assert label_sets(table(["a", "", None, " "], [float("nan")]), "c") == [["a"], []]
    assert label_sets(table("a| b", "a||", None, "|"), "c", separator="|") == [["a", "b"], ["a"], [], []]
    refused(r"line 10: column 'c' holds a string, expected a list of labels, or a separator", label_sets, table("SECRET"), "c")
    refused(r"line 10: column 'c' holds a list, expected labels", label_sets, table([["a"]]), "c")


@pytest.mark.parametrize(
    "spell", [str, lambda v: str(v).replace(", ", " "), lambda v: str(v).replace("'", '"'), lambda v: str(tuple(v)), list]
)
def test_lists_written_as_text_are_lists(spell):
    values = [["joy", "calm"], ["rage", "joy"], [], ["calm", "it is"]]
    given = [spell(value) for value in values]
    assert label_sets(table(*given, None, "nan" if isinstance(given[0], str) else None), "c") == [*values, None, None]


def test_blank_strings_and_those_of_missing_values_beside_lists_are_missing():
    assert label_sets(table(["a"], "", "nan", ["b"], " "), "c") == [["a"], None, None, ["b"], None]
    refused(r"line 20: column 'c' holds a string, expected a list of labels", label_sets, table(["a"], "nan"), "c", missing=[])


@pytest.mark.parametrize("many", [1, 5])  # lists are a few of the cells, or most
@pytest.mark.parametrize(
    "spell", [str, lambda parts: f'{{"choices": {json.dumps(parts)}}}', list, lambda parts: {"choices": parts}]
)
def test_a_single_label_beside_lists_is_a_list_of_it(spell, many):
    lists = [spell(["joy", "calm"])] * many
    rows = table(*lists, "joy", "calm", None, "nan", "", "joy")
    assert label_sets(rows, "c") == [["joy", "calm"]] * many + [["joy"], ["calm"], None, None, None, ["joy"]]
    (said,) = told_single("t", rows, "c")
    opening = f"'t': 3 of {many + 6} rows have one label without brackets in column 'c', beside lists of labels;"
    assert said == f"{opening} it is read as a list of it each."
    assert told_single("t", table(*lists), "c") == []
    assert label_sets(rows.select([many, many + 1]), "c", names=["calm", "joy"]) == [["joy"], ["calm"]]
    assert label_sets(table("joy", None), "c", names=["calm", "joy"]) == [["joy"], None]
    refused(r"line 10: column 'c' holds a string, expected a list", label_sets, table("SECRET"), "c", names=["calm", "joy"])
    refused(r"line 10: column 'c' holds a list, expected a label", labels, rows, "c")
    assert label_sets(table("['a', 'b']", "a|b", "a"), "c", separator="|") == [["a", "b"], ["a", "b"], ["a"]]
    texts = ["[1] as it says", "[1]", "(sic)", "so it is", "fine", "it is here", "no"]
    assert cells(table(*texts), "c") == texts


def test_what_is_no_list_among_lists_is_told_with_its_line():
    refused(
        r"line 20: column 'c' holds text that begins like a list and cannot be read as one, expected a list, as its other rows",
        label_sets, table("['a']", "['SECRET", "['b']"), "c",
    )  # fmt: skip
    refused(r"line 30: column 'c' holds a string, expected a list", label_sets, table("['a']", "['b']", "SECRET"), "c")
    refused(r"line 10: column 'c' holds a string, expected a list of labels", label_sets, table("[PAD]", "[SEP]"), "c")


@pytest.mark.parametrize(
    "values",
    [
        [[0, 1, 0], [1, 1, 0], [0, 0, 0]],
        [[0.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]],
        [[False, True, False], [True, True, False], [False, False, False]],
        ["[0, 1, 0]", "[1, 1, 0]", "[0, 0, 0]"],
        [["0", "1", "0"], ["1", "1", "0"], ["0", "0", "0"]],
        ["['0' '1.0' '0']", '["true", "true", "false"]', "('0', '0', 'False')"],
        ["[0. 1. 0.]", "[1. 1. 0.]", "[0. 0. 0.]"],
        ["[ True  True False]".replace(" True  True", "False  True"), "[ True  True False]", "[False False False]"],
    ],
)
def test_vectors_of_zeros_and_ones_hold_the_labels_at_their_places(values):
    rows = table(*values, None)
    assert vector_length(rows, "c") == 3
    assert label_sets(rows, "c") == [["label_1"], ["label_0", "label_1"], [], None]
    assert label_sets(rows, "c", names=["z", "a", "m"]) == [["a"], ["z", "a"], [], None]
    refused(
        r"x\.jsonl: column 'c' holds vectors of 3 zeros and ones, expected 2, one a label",
        label_sets, rows, "c", names=["a", "b"],
    )  # fmt: skip


@pytest.mark.parametrize(
    "values", [[[0, 1], [1]], [[0], [1]], [[0, 2], [1, 0]], [["0", "1"], ["1", "0"]], [[0, None], [1, None], [0, 1]], [], [[]]]
)
def test_other_lists_are_no_vectors(values):
    assert vector_length(table(*values), "c") is None


@pytest.mark.parametrize(
    "values",
    [
        [[0, 1, 0], [1, None, 0], [1, 1, 0], [float("nan"), 1, 0]],
        ["[0, 1, 0]", "[1, null, 0]", "[1, 1, 0]", "[nan, 1, 0]"],
        [["0", "1", "0"], ["1", "", "0"], ["1", "1", "0"], ["N/A", "1", "0"]],
    ],
)
def test_a_vector_that_lacks_a_value_is_missing(values):
    rows = table(*values, None)
    assert vector_length(rows, "c") == 3 and holed(rows, "c") == [False, True, False, True, False]
    assert label_sets(rows, "c") == [["label_1"], None, ["label_0", "label_1"], None, None]
    assert label_sets(table([1, 0], [0, 1], [-1, 1]), "c", missing=["-1"]) == [["label_0"], ["label_1"], None]


def test_what_is_no_vector_among_vectors_is_told_with_its_line():
    most = [[1, 0, 1], [0, 0, 1], [1, 1, 1]]
    told = r"line 30: column 'c' holds a list of 2 zeros and ones, expected 3, each 0 or 1, as most of its rows have"
    refused(told, label_sets, table(*most[:2], [1, 0], most[2]), "c")
    refused(
        r"line 20: column 'c' holds a list with something else than 0 and 1",
        label_sets,
        table([1, 0, 1], [1, -1, 0], *most),
        "c",
    )
    assert label_sets(table(*most, [1, 0]), "c", names=["0", "1"])[3] == ["1", "0"]  # of a branch that has these labels


def test_a_few_rows_of_a_column_of_numbered_labels_are_no_vectors():
    rows = table([0, 1], [1, 0], [2], [0])
    chosen = rows.select([0, 1])
    assert label_sets(rows, "c") and vector_length(chosen.select([0]), "c") == 2
    assert label_sets(rows.select([0, 1]), "c", names=["0", "1", "2"]) == [["0", "1"], ["1", "0"]]
    assert label_sets(table([0, 1], [1, 0]), "c", names=["0", "1", "2"]) == [["0", "1"], ["1", "0"]]
    vector_length(rows, "c")
    assert vector_length(rows.select([0, 1]), "c") is None  # the whole column said so


def test_indicators():
    many = Table("x.csv", {"a": ["1", "0", None, 1], "b": [0, True, "1", "no"]}, [2, 3, 4, 5])
    assert indicators(many, ["a", "b"]) == [["a"], ["b"], None, ["a"]]
    refused(r"x line 7: column 'a' holds '2', expected 0 or 1", indicators, Table("x", {"a": [2]}, [7]), ["a"])
    refused(r"line 10: column 'c' holds a string, expected 0 or 1", indicators, table("SECRET words"), ["c"])


@pytest.mark.parametrize("mark", ["1", 1, 1.0, "1.0", True, "x", "X", "yes", "\u2713"])
def test_a_blank_is_0_in_a_column_that_has_nothing_but_1_and_blanks(mark):
    rows = Table("x", {"a": [mark, None, None, " "], "b": [None, mark, None, mark], "c": [None] * 4, "d": [0, 1, 1, 0]})
    assert indicators(rows, ["a", "b", "c"]) == [["a"], ["b"], [], ["b"]]
    assert indicators(rows, ["a", "d"]) == [["a"], ["d"], ["d"], []]
    assert indicators(rows, ["c", "d"]) == [None] * 4  # no column of 1 and blanks: not known
    holes = Table("x", {"a": [0, 1, None], "b": [mark, None, mark]})
    assert indicators(holes, ["a", "b"]) == [["b"], ["a"], None]


def test_missing_values_of_indicators():
    assert indicators(Table("x", {"a": ["1", "0", "N/A", "nan"]}), ["a"]) == [["a"], [], None, None]
    assert indicators(Table("x", {"a": ["1", "0", "9"]}), ["a"], missing=["9"]) == [["a"], [], None]
    assert indicators(Table("x", {"a": ["1", "-"]}), ["a"]) == [["a"], []]
