from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.data.corpus import Corpus
from trunkline.data.splits import check_splits, draw_validation
from trunkline.data.table import Table
from trunkline.errors import BadInput


def table(n):
    return Table("x", {"i": list(range(n))}, list(range(1, n + 1)))


STRATA = st.lists(st.sampled_from("aaaabbcd") | st.none(), min_size=2, max_size=60)


@settings(deadline=None, max_examples=50)
@given(STRATA, st.floats(0.01, 0.99), st.integers(0, 4), st.booleans())
def test_a_draw_divides_the_rows_by_seed(strata, share, seed, stratified):
    n = len(strata)
    chosen = strata if stratified else None
    left, drawn = draw_validation(table(n), share, seed, chosen)
    assert sorted(left.columns["i"] + drawn.columns["i"]) == list(range(n))
    assert left.columns["i"] == sorted(left.columns["i"]) and len(left) and len(drawn)
    again = draw_validation(table(n), share, seed, chosen)[1]
    assert again.columns == drawn.columns and list(again.lines) == [i + 1 for i in drawn.columns["i"]]
    wanted = min(max(1, round(share * n)), n - 1)
    if not stratified:
        assert len(drawn) == wanted
        return
    sizes, taken = Counter(strata), Counter(strata[i] for i in drawn.columns["i"])
    assert len(drawn) == wanted
    for stratum, size in sizes.items():  # the integer below its exact share, or the one above
        assert taken[stratum] - size * wanted // n in (0, 1)
    spare = sum(size - 1 - size * wanted // n > 0 for size in sizes.values())
    if sum(size * wanted // n for size in sizes.values()) + spare >= wanted:  # enough without anybody's last row
        assert all(taken[stratum] < size for stratum, size in sizes.items())


def test_labels_that_occur_once_give_their_share_too():
    strata = ["many"] * 100 + [f"single {i}" for i in range(100)]
    draws = [draw_validation(table(200), 0.1, seed, strata)[1] for seed in (0, 0, 1)]
    for drawn in draws:
        assert len(drawn) == 20 and 9 <= sum(i < 100 for i in drawn.columns["i"]) <= 11
    assert draws[0].columns == draws[1].columns != draws[2].columns
    with_rare = ["a"] * 96 + ["b"] * 2 + ["c"] * 2  # b and c lose their last row only where there is no other way
    drawn = draw_validation(table(100), 0.5, 0, with_rare)[1]
    assert Counter(with_rare[i] for i in drawn.columns["i"]) == {"a": 48, "b": 1, "c": 1}


def test_a_sorted_file_gives_every_label_its_share():
    strata = ["a"] * 900 + ["b"] * 90 + ["c"] * 10
    _, drawn = draw_validation(table(1000), 0.1, 0, strata)
    assert Counter(strata[i] for i in drawn.columns["i"]) == {"a": 90, "b": 9, "c": 1}
    other = draw_validation(table(1000), 0.1, 1, strata)[1]
    assert other.columns != drawn.columns


@pytest.mark.parametrize(("n", "share"), [(1, 0.5), (10, 0.0), (10, 1.0), (10, 1.5), (10, float("nan"))])
def test_draws_that_cannot_be(n, share):
    with pytest.raises(BadInput, match=r"^x: "):
        draw_validation(table(n), share, 0)


def corpus(*texts, pairs=None):
    return Corpus(Table("x", {"text": list(texts)}), list(texts), pairs)


def test_what_is_odd_is_counted():
    splits = {
        "train": corpus("a", "a", "b", "b", "b", "c", "f", "g"),
        "validation": corpus("a", "d", "d"),
        "test": corpus("e", "a", "b", "b"),
    }
    labels = {
        "train": {"l": ["x", "y", "x", "x", None, "x", "x", "x"], "m": [["p"], ["p"], ["p"], ["q"], ["p"], [], [], []]},
        "validation": {"l": ["x", "x", "x"]},
    }
    assert check_splits(splits, labels) == [
        "train: 2 texts occur more than once (5 rows).",
        "train: 1 text carries different labels for 'l'.",
        "train: 1 text carries different labels for 'm'.",
        "validation: 1 text occurs more than once (2 rows).",
        "test: 1 text occurs more than once (2 rows).",
        "validation: 1 text is also in train (1 row of validation).",
        "test: 2 texts are also in train (3 rows of test).",
        "test: 1 text is also in validation (1 row of test).",
    ]


def test_clean_splits_have_no_findings():
    assert check_splits({"train": corpus("a", "b"), "test": corpus("c")}, {"train": {"l": ["x", "x"]}}) == []


def test_a_pair_repeats_only_as_a_pair():
    same = corpus("a", "a", pairs=["x", "y"])
    assert check_splits({"train": same}, {}) == []
    assert check_splits({"train": same, "test": corpus("a", pairs=["y"])}, {}) == [
        "test: 1 text is also in train (1 row of test)."
    ]
