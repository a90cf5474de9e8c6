"""Draws of training rows: nested, by class, the same for the same seed; and what is said where one cannot be made."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from synthetic import config, write_rows
from tasktools import corpus_of, fitted

from trunkline.data.corpus import build_corpus
from trunkline.data.table import Table
from trunkline.errors import BadInput
from trunkline.tasks import Targets
from trunkline.tasks.multilabel import MultilabelConfig, MultilabelLearned, MultilabelTask
from trunkline.training.config import load_config, resolve
from trunkline.training.prepare import prepare, split_digest
from trunkline.training.subset import Draw, draw_rows, parse

PER_CLASS = st.integers(1, 4)


@st.composite
def labelled(draw):
    """A task of several labels, some rows of it without a label, and some with a missing one."""
    rows, labels = draw(st.integers(1, 30)), draw(st.integers(1, 4))
    bits = st.lists(st.lists(st.booleans(), min_size=labels, max_size=labels), min_size=rows, max_size=rows)
    values = np.array(draw(bits), bool)
    present = np.array(draw(st.lists(st.booleans(), min_size=rows, max_size=rows)), bool)
    names = [f"l{number}" for number in range(labels)]
    task = MultilabelTask("topics", MultilabelConfig(labels="topics"), names, MultilabelLearned())
    return task, Targets(values & present[:, None], present)


def drawn(draw, given, seed=0):
    return draw_rows(draw, seed, len(given[1].present), {"topics": given}, "rows.csv")[0].tolist()


def first_of_each(number, given, seed):
    """The first rows of each label in the order of the seed, looked for one by one."""
    _, targets = given
    found: set[int] = set()
    for label in range(targets.values.shape[1]):
        holding = [row for row in np.random.default_rng(seed).permutation(len(targets.present)) if targets.values[row, label]]
        found |= {int(row) for row in holding[:number]}
    return sorted(found)


@settings(max_examples=50, deadline=None)
@given(labelled(), PER_CLASS, st.integers(0, 5))
def test_so_many_per_class_are_the_first_rows_of_each_class(given, number, seed):
    counts = given[1].values.sum(axis=0)
    if counts.max() < number:
        with pytest.raises(BadInput, match=f"largest class of rows.csv has {counts.max()} rows"):
            drawn(Draw(None, None, number), given, seed)
        return
    rows = drawn(Draw(None, None, number), given, seed)
    assert rows == first_of_each(number, given, seed) == drawn(Draw(None, None, number), given, seed)
    assert (given[1].values[rows].sum(axis=0) >= np.minimum(counts, number)).all()


@settings(max_examples=50, deadline=None)
@given(labelled(), st.lists(PER_CLASS, min_size=2, max_size=2, unique=True), st.data(), st.integers(0, 5))
def test_of_draws_that_name_each_other_the_smaller_is_within_the_larger(given, numbers, data, seed):
    least, most = sorted(numbers)
    assume(given[1].values.sum(axis=0).max() >= most)
    few, many = (set(drawn(Draw(None, None, number), given, seed)) for number in (least, most))
    assert few <= many
    between, beyond = data.draw(st.integers(len(few), len(many))), data.draw(st.integers(len(many), len(given[1].present)))
    some, more = (set(drawn(draw, given, seed)) for draw in (Draw(between, least, most), Draw(beyond, most)))
    assert few <= some <= many <= more and (len(some), len(more)) == (between, beyond)
    fewest = set(drawn(Draw(data.draw(st.integers(1, len(few))), None, least), given, seed))
    assert fewest <= few


def test_a_number_of_rows_is_the_beginning_of_a_permutation_as_it_always_was():
    for rows in (1, 7, 20):
        expected = sorted(np.random.default_rng(9).permutation(20)[:rows].tolist())
        assert draw_rows(Draw(rows), 9, 20, {}, "rows.csv")[0].tolist() == expected


def test_the_classes_of_every_kind_of_task():
    table = Table(
        "t",
        {"words": [["paris", "to", "tokyo"], ["in", "tokyo"], ["so"]], "tags": [["B-a", "I-a", "B-b"], ["O", "B-b"], ["O"]]},
    )
    corpus = build_corpus(table, text=None, tokens="words")
    cases = [
        (fitted("token", corpus, tokens="words", tags="tags"), corpus, [(0, "a"), (0, "b"), (1, "b")]),
        (fitted("sequence", (one := corpus_of(label=["x", None, "y"])), label="label"), one, [(0, "x"), (2, "y")]),
        (
            fitted("multilabel", (two := corpus_of(labels=[["p", "q"], [], None, ["q"]])), labels="labels"),
            two,
            [(0, "p"), (0, "q"), (3, "q")],
        ),
    ]
    for task, corpus, expected in cases:
        rows, labels = task.row_labels(task.targets(corpus))
        assert [(row, task.own_labels[label]) for row, label in zip(rows.tolist(), labels.tolist(), strict=True)] == expected
    numbers = corpus_of(stars=[1.0, 2.0])
    task = fitted("regression", numbers, target="stars")
    assert task.row_labels(task.targets(numbers)) is None


@pytest.mark.parametrize(
    ("given", "value"),
    [
        (1000, 1000),
        ("1000", 1000),
        (30.0, 30),
        ("8 per class", "8 per class"),
        (" 8  per   class ", "8 per class"),
        ("1000 with 64 per class", "1000 with 64 per class"),
        ("100 with 8 within 64 per class", "100 with 8 within 64 per class"),
    ],
)
def test_a_draw_is_written_as_it_is_read(given, value):
    assert parse(given).value == value == parse(value).value


@pytest.mark.parametrize(
    "given",
    [
        0,
        -3,
        True,
        1.5,
        float("inf"),
        float("nan"),
        None,
        [8],
        "eight per class",
        "0 per class",
        "8 per label",
        "8 perclass",
        "9 with 8 within 8 per class",
    ],
)
def test_what_is_no_draw_is_refused_with_what_would_be_one(given, tmp_path):
    with pytest.raises(ValueError, match="expected a number of rows from 1 on, or of rows per class such as '8 per class'"):
        parse(given)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("subset") / "rows.jsonl", 100)


def prepared(rows, number, tasks=("mood",), **training):
    values = config("minilm", rows, tasks=tasks, **training)
    values["data"]["rows"] = number
    return resolve(values), prepare(resolve(values))[0]


def test_a_run_draws_from_what_validation_and_test_leave_and_its_config_alone_draws_the_same(rows, tmp_path):
    whole, (own, some) = prepared(rows, None)[1], prepared(rows, "8 per class")
    labels = some.splits["train"].targets["mood"].values
    assert np.bincount(labels).tolist() == [8, 8]
    lines = some.splits["train"].corpus.table.lines
    assert list(lines) == sorted(lines) and set(lines) < set(whole.splits["train"].corpus.table.lines)
    for split in ("validation", "test"):
        assert split_digest(some.splits[split]) == split_digest(whole.splits[split])
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(own.as_dict()))
    again = load_config(tmp_path / "config.yaml")
    assert again.identity() == own.identity() != prepared(rows, None)[0].identity()
    assert split_digest(prepare(again)[0].splits["train"]) == split_digest(some.splits["train"])
    other = prepared(rows, "8 per class", seed=4)[1].splits["train"].corpus.table.lines
    assert lines != other


def test_classes_with_fewer_rows_are_counted_in_a_finding(rows):
    found = prepared(rows, "12 per class", tasks=("mood", "topics"))[1]
    counts = prepared(rows, None, tasks=("mood", "topics"))[1].splits["train"].targets["topics"].values.sum(axis=0)
    fewer = int((counts < 12).sum())
    assert fewer > 0
    have = "has" if fewer == 1 else "have"
    said = f"train: {fewer} of the 3 classes of 'topics' {have} fewer than 12 rows, and all of these are trained on"
    assert f"{said} (data.rows: 12 per class)." in found.findings
    assert not any("of 'mood' ha" in one for one in found.findings)


@pytest.mark.parametrize(
    ("number", "tasks", "said"),
    [
        (61, ("mood",), r"found 61, but .*rows\.jsonl has 60 rows to train on; expected at most that many"),
        (
            "8 per class",
            ("stars",),
            r"found '8 per class', but .* has no classes, as stars predicts numbers; expected a number",
        ),
        (
            "50 per class",
            ("mood",),
            r"found '50 per class', but the largest class of .* has \d\d rows to train on; expected at most",
        ),
        ("10 with 8 per class", ("mood",), r"found '10 with 8 per class', but 8 per class are 16 rows; expected at least"),
        ("20 within 8 per class", ("mood",), r"found '20 within 8 per class', but 8 per class are 16 rows; expected at most"),
        ("61 with 8 per class", ("mood",), r"found 61, but .*rows\.jsonl has 60 rows"),
    ],
)
def test_a_draw_that_the_data_do_not_have_is_one_sentence(number, tasks, said, rows):
    with pytest.raises(BadInput, match=rf"^data\.rows: {said}"):
        prepared(rows, number, tasks=tasks)


def test_the_config_says_what_was_found(rows):
    with pytest.raises(
        BadInput, match=r"data\.rows: found '8 per label', expected a number of rows from 1 on, or of rows per class"
    ):
        prepared(rows, "8 per label")
