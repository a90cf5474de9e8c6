"""The sizes of a study: read from YAML, and made into runs whose training rows are within each other's."""

from __future__ import annotations

import itertools

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import config, write_rows

from trunkline.errors import BadInput
from trunkline.studies.subsets import Size, read_sizes, subsets
from trunkline.training.config import resolve
from trunkline.training.prepare import prepare, split_digest


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("sizes") / "rows.jsonl", 150)


def of_tasks(path, *tasks, seed=3, **data):
    values = config("minilm", path, tasks=tasks, seed=seed)
    values["data"] |= data
    return resolve(values)


def lines(config):
    return [set(group.splits["train"].corpus.table.lines) for group in prepare(config)]


@pytest.mark.parametrize(
    ("written", "sizes"),
    [
        ("[8 per class, 64 per class, 1000, all]", [Size(None, 8), Size(None, 64), Size(1000), Size()]),
        ("all", [Size()]),
        ("1000", [Size(1000)]),
    ],
)
def test_sizes_are_read_from_yaml_and_shown_as_they_are_written(written, sizes):
    assert read_sizes(yaml.safe_load(written)) == sizes
    assert [str(size) for size in sizes] == written.strip("[]").split(", ")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("[]", "found none, expected a number of rows such as 1000, rows per class such as '8 per class', or 'all'"),
        ("[8 per label]", "found '8 per label', expected a number of rows"),
        ("[0]", "found 0, expected a number of rows"),
        ("[10%]", "found '10%', expected a number of rows"),
        ("[yes]", "found true, expected a number of rows"),
        ("null", "found null, expected a number of rows"),
        ("{8: class}", "found a mapping, expected a number of rows"),
        ("[1000 with 8 per class]", "found '1000 with 8 per class', expected a number of rows"),
        ("[all, 100, all]", "found all twice, expected each size once"),
        ("[8 per class, 8  per class]", "found 8 per class twice, expected each size once"),
    ],
)
def test_what_is_no_size_is_one_sentence(written, said):
    with pytest.raises(BadInput) as error:
        read_sizes(yaml.safe_load(written), "study.yaml")
    assert str(error.value).startswith(f"study.yaml: sizes: {said}") and "\n" not in str(error.value)


@settings(max_examples=15, deadline=None)
@given(
    tasks=st.sampled_from([("mood",), ("cities",), ("topics",), ("mood", "cities", "topics"), ("stars", "mood")]),
    per_class=st.lists(st.integers(1, 12), max_size=3, unique=True),
    numbers=st.lists(st.integers(12, 90), min_size=1, max_size=4, unique=True),  # of fewer, all stars may be equal
    seed=st.integers(0, 3),
)
def test_the_rows_of_every_size_are_within_those_of_the_larger_ones(rows, tasks, per_class, numbers, seed):
    base = of_tasks(rows, *tasks, seed=seed)
    sizes = [*(Size(None, number) for number in per_class), *map(Size, numbers), Size()]
    found = subsets(base, sizes)
    trained = [lines(subset.config)[0] for subset in found]
    assert [len(own) for own in trained] == [subset.rows for subset in found] == sorted(subset.rows for subset in found)
    assert all(few <= many for few, many in itertools.pairwise(trained))
    assert {subset.size for subset in found} == set(sizes) and found[-1].config.data.rows is None
    assert all(subset.rows == subset.size.rows for subset in found if subset.size.rows)


def test_a_number_alone_is_the_run_that_it_always_was_and_others_say_what_they_are_within(rows):
    base = of_tasks(rows, "mood")
    alone = subsets(base, read_sizes([50, "all"]))
    assert [subset.config.data.rows for subset in alone] == [50, None] and alone[1].config.identity() == base.identity()
    assert alone[0].config.identity() == of_tasks(rows, "mood", rows=50).identity()
    beside = subsets(base, read_sizes(["all", 50, "20 per class", 5, "4 per class", 12]))
    assert [subset.config.data.rows for subset in beside] == [
        "5 within 4 per class",
        "4 per class",
        "12 with 4 within 20 per class",
        "20 per class",
        "50 with 20 per class",
        None,
    ]
    assert len({subset.config.identity() for subset in beside}) == len(beside)
    again = [resolve(yaml.safe_load(yaml.safe_dump(subset.config.as_dict()))) for subset in beside]
    assert [lines(config) for config in again] == [lines(subset.config) for subset in beside]


def test_validation_and_test_stay_what_they_are(rows):
    base = of_tasks(rows, "mood", "cities")
    for subset in subsets(base, read_sizes(["4 per class", 30])):
        for split in ("validation", "test"):
            assert split_digest(prepare(subset.config)[0].splits[split]) == split_digest(prepare(base)[0].splits[split])


def test_each_data_set_of_a_config_is_drawn_from(rows, tmp_path):
    values = config("minilm", rows, tasks=("mood", "stars"))
    other = write_rows(tmp_path / "other.jsonl", 80, seed=9)
    values["tasks"]["stars"]["data"] = {"train": str(other), "validation": "20%", "test": "20%"}
    small, large = subsets(resolve(values), read_sizes([48, 20]))
    assert (small.rows, large.rows) == (40, 96)
    assert all(few < many for few, many in zip(lines(small.config), lines(large.config), strict=True))
    assert [group.name for group in prepare(small.config)] == ["mood", "stars"]


@pytest.mark.parametrize(
    ("tasks", "sizes", "data", "said"),
    [
        (("mood",), [91], {}, r"found 91, but .*rows\.jsonl has 90 rows to train on; expected at most that many"),
        (("mood",), ["80 per class"], {}, r"found '80 per class', but the largest class of .* has \d\d rows"),
        (("stars",), ["8 per class"], {}, r"found '8 per class', but .* has no classes, as stars predicts numbers"),
        (("mood",), [20], {"rows": 30}, r"found data\.rows: 30, expected no data\.rows beside sizes; give 30 as a size"),
    ],
)
def test_sizes_that_the_data_do_not_have_are_one_sentence(tasks, sizes, data, said, rows):
    with pytest.raises(BadInput, match=rf"^study\.yaml: sizes: {said}"):
        subsets(of_tasks(rows, *tasks, **data), read_sizes(sizes), "study.yaml")
