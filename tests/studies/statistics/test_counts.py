"""Scores of sums of counts against the metrics of the tasks on the same rows, repeated or exchanged between runs."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from answered import drawn_tags, numbers, one_of, rights, several, tagged
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import issparse

from trunkline.errors import BadInput
from trunkline.studies.statistics.answers import METRICS, Answers, check_same_rows
from trunkline.studies.statistics.counts import counted
from trunkline.tasks import metrics
from trunkline.tasks.base import LOWER_IS_BETTER
from trunkline.training.answered import KeptAnswers

few = settings(max_examples=15, deadline=None)
seeds = st.integers(0, 10**6)


def of_task(answers: Answers, texts: np.ndarray) -> dict:
    """The metrics of the task on these texts, one after the other, repeated ones as often as they are there."""
    if answers.kind == "token":
        words = [np.arange(answers.offsets[t], answers.offsets[t + 1]) for t in texts]
        words = [own[answers.present[own]] for own in words]
        offsets = np.concatenate([[0], np.cumsum([len(own) for own in words])])
        rows = np.concatenate(words)
        return metrics.token_metrics(answers.true[rows], answers.predicted[rows], offsets, list(answers.labels))
    true, predicted = answers.true[texts], answers.predicted[texts]
    if answers.kind == "sequence":
        return metrics.sequence_metrics(true, predicted, list(answers.labels), answers.positive)
    if answers.kind == "multilabel":
        return metrics.multilabel_metrics(true, predicted, answers.scores[texts], list(answers.labels))
    return metrics.regression_metrics(true, predicted)


def check(answers: Answers, draw: np.random.Generator, names) -> None:
    """All metrics `names`, of all rows and of two drawn sets, also of a single row."""
    texts = answers.texts
    times = np.stack([np.ones(len(texts)), *draw.multinomial(len(texts), np.full(len(texts), 1 / len(texts)), 2)], axis=1)
    times[:, 2] = np.arange(len(texts)) == draw.integers(len(texts))
    expected = [of_task(answers, np.repeat(texts, column.astype(int))) for column in times.T]
    for name in names:
        found = counted(dataclasses.replace(answers, metric=name)).scores(times)
        values = [np.nan if one[name] is None else one[name] for one in expected]
        np.testing.assert_allclose(found, values, rtol=1e-12, atol=1e-12, err_msg=name)


def test_every_metric_of_every_kind_is_known():
    assert {kind: set(names) for kind, names in METRICS.items()} == {
        "sequence": {*metrics.SEQUENCE, *metrics.BINARY},
        "multilabel": set(metrics.MULTILABEL),
        "regression": set(metrics.REGRESSION),
        "token": set(metrics.TOKEN),
    }


def test_what_is_better_when_lower_is_what_the_tasks_say():
    run = numbers([1, 2], [1, 3])
    lower = [name for name in METRICS["regression"] if not dataclasses.replace(run, metric=name).greater_is_better]
    assert set(lower) == LOWER_IS_BETTER - {"loss"}


def test_answers_that_a_run_has_kept():
    """Also of labels that only the test rows have, of which a task's scores are told by number only."""
    draw = np.random.default_rng(0)
    true, predicted, present = draw.integers(0, 3, 20), draw.integers(0, 2, 20), np.arange(20) > 2
    kept = KeptAnswers("sequence", "f1", ["no", "yes"], "no", ["maybe"], true, predicted, present)
    scores = metrics.sequence_metrics(true[present], predicted[present], ["no", "yes"], 0, ("maybe",))
    for name in METRICS["sequence"]:
        assert counted(Answers.of(kept, name)).scores(np.ones((17, 1))) == pytest.approx([scores[name]], rel=1e-12)
    assert Answers.of(kept).metric == "f1" and list(Answers.of(kept).labels) == ["no", "yes", "maybe"]

    true, predicted, found = draw.random((20, 3)) < 0.5, draw.random((20, 2)) < 0.5, draw.random((20, 2))
    kept = KeptAnswers("multilabel", "f1_micro", ["a", "b"], None, ["c"], true, predicted, np.ones(20, bool), scores=found)
    scores = metrics.multilabel_metrics(
        true, metrics.with_unseen(predicted, 1), metrics.with_unseen(found, 1), ["a", "b"], ("c",)
    )
    for name in METRICS["multilabel"]:
        assert counted(Answers.of(kept, name)).scores(np.ones((20, 1))) == pytest.approx([scores[name]], rel=1e-12)

    true, predicted, offsets = drawn_tags(draw, 8, 3)
    kept = KeptAnswers("token", "f1", ["a", "b"], None, ["c"], true, predicted, np.ones(len(true), bool), offsets)
    [value] = counted(Answers.of(kept)).scores(np.ones((8, 1)))
    assert value == pytest.approx(metrics.token_metrics(true, predicted, offsets, ["a", "b"], ("c",))["f1"], rel=1e-12)

    kept = KeptAnswers("regression", "loss", None, None, [], np.arange(4.0), np.arange(4.0), np.ones(4, bool))
    assert counted(Answers.of(kept, "mse")).scores(np.ones((4, 1))) == [0]
    with pytest.raises(BadInput, match=r"^metric: unknown name 'loss'"):
        Answers.of(kept)


@few
@given(seeds, st.integers(2, 5), st.integers(1, 12))
def test_one_label(seed, labels, rows):
    draw = np.random.default_rng(seed)
    true, predicted = draw.integers(0, labels, (2, rows))
    present = draw.random(rows) < 0.8
    present[0] = True
    check(one_of(labels, true, predicted, present=present), draw, metrics.SEQUENCE)
    if labels == 2:
        check(one_of(2, true, predicted, positive=int(draw.integers(2))), draw, metrics.BINARY)


@few
@given(seeds, st.integers(1, 4), st.integers(1, 10), st.sampled_from([0.0, 0.2, 0.6]))
def test_several_labels(seed, labels, rows, share):
    draw = np.random.default_rng(seed)
    true, predicted = draw.random((2, rows, labels)) < share
    check(several(true, predicted, draw.integers(0, 4, (rows, labels)) / 4), draw, metrics.MULTILABEL)


@few
@given(seeds, st.integers(1, 12), st.sampled_from([1, 2, 1000]), st.sampled_from([0, 300]))
def test_numbers(seed, rows, values, far):
    """Eighths, so that a constant has exactly its own mean; predictions may be far from what is right."""
    draw = np.random.default_rng(seed)
    true, predicted = draw.integers(0, values, (2, rows)) / 8
    check(numbers(true + 5, predicted + far), draw, metrics.REGRESSION)


def test_numbers_of_any_scale():
    draw = np.random.default_rng(0)
    true = draw.normal(-1e4, 1e-2, 300)
    answers = numbers(true, true + draw.normal(5, 1e-2, 300))
    for name in ("pearson", "r2", "mse", "mae"):
        [found] = counted(dataclasses.replace(answers, metric=name)).scores(np.ones((300, 1)))
        assert found == pytest.approx(metrics.regression_metrics(true, answers.predicted)[name], rel=1e-12)


def test_rows_that_are_all_the_same_are_a_constant():
    """Whatever rounding leaves of their variance: a correlation has no value then, and r2 is 0, as of any constant."""
    true, predicted = np.random.default_rng(0).normal(0.1, 1, (2, 50))
    same = 7 * np.eye(50)
    assert np.isnan(counted(numbers(true, predicted, "pearson")).scores(same)).all()
    assert (counted(numbers(true, predicted, "r2")).scores(same) == 0).all()


@few
@given(seeds, st.integers(1, 3), st.integers(1, 8))
def test_spans(seed, types, texts):
    draw = np.random.default_rng(seed)
    true, predicted, offsets = drawn_tags(draw, texts, types)
    check(tagged(types, true, predicted, offsets), draw, metrics.TOKEN)


def test_texts_without_an_answer_are_no_rows():
    true, predicted, offsets = drawn_tags(np.random.default_rng(0), 6, 2)
    offsets = np.insert(offsets, 3, offsets[3])  # a text without words
    present = np.ones(len(true), bool)
    present[offsets[1] : offsets[2]] = False
    answers = tagged(2, true, predicted, offsets, present=present)
    assert answers.texts.tolist() == [0, 2, 4, 5, 6] and counted(answers).rows == 5
    check(answers, np.random.default_rng(1), metrics.TOKEN)


def test_many_labels_stay_sparse():
    true, predicted = np.random.default_rng(0).integers(0, 150, (2, 10_000))
    counts = counted(one_of(150, true, predicted, "f1_macro")).counts
    assert counts.shape == (10_000, 450) and issparse(counts) and counts.nnz <= 3 * 10_000


def exchanged(first: Answers, second: Answers, texts: np.ndarray) -> tuple[Answers, Answers]:
    """Both runs, with the answers to these texts exchanged."""
    rows = np.isin(np.arange(len(first.true)), texts)
    if first.offsets is not None:
        rows = np.concatenate([np.arange(a, b) for a, b in zip(first.offsets[texts], first.offsets[texts + 1], strict=True)])
    made = []
    for mine, other in ((first, second), (second, first)):
        parts = {key: getattr(mine, key).copy() for key in ("predicted", "scores") if getattr(mine, key) is not None}
        for key, values in parts.items():
            values[rows] = getattr(other, key)[rows]
        made.append(dataclasses.replace(mine, **parts))
    return made[0], made[1]


def pairs_of_runs(draw):
    """Two runs of each kind, a few metrics of each."""
    true, one, other = draw.integers(0, 3, (3, 12))
    yield (one_of(3, true, one), one_of(3, true, other)), ("accuracy", "f1_macro", "f1_weighted", "matthews")
    true, one, other = draw.random((3, 12, 3)) < 0.4
    first, second = draw.random((2, 12, 3))
    yield (several(true, one, first), several(true, other, second)), ("f1_micro", "average_precision", "accuracy")
    true, one, other = draw.normal(0, 1, (3, 12))
    yield (numbers(true, one), numbers(true, other + 20)), ("mse", "pearson", "spearman", "r2")
    true, one, offsets = drawn_tags(draw, 12, 2)
    other = drawn_tags(np.random.default_rng(7), 40, 2)[0][: len(true)]
    yield (tagged(2, true, one, offsets), tagged(2, true, other, offsets)), ("f1", "f1_macro", "accuracy")


def test_exchanged_answers_are_scored_as_those_of_two_runs():
    draw = np.random.default_rng(0)
    swap = (draw.random((12, 4)) < 0.5).astype(float)
    for (first, second), names in pairs_of_runs(draw):
        for name in names:
            one, other = (dataclasses.replace(answers, metric=name) for answers in (first, second))
            centre = None if first.kind != "regression" else 3.0
            found = np.array(counted(one, centre).swapped(counted(other, centre), swap))
            made = [exchanged(one, other, np.flatnonzero(column)) for column in swap.T]
            expected = np.array([[of_task(answers, answers.texts)[name] for answers in pair] for pair in made]).T
            np.testing.assert_allclose(found, expected, rtol=1e-10, err_msg=name)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "sequenc"}, "kind: unknown name 'sequenc'; did you mean 'sequence'?"),
        ({"metric": "loss"}, "metric: unknown name 'loss'; expected one of"),
        ({"predicted": np.zeros(3, int)}, "predicted: found an array of shape (3,), expected (4,), as present and labels are"),
        ({"present": np.zeros(4, bool)}, "present: found no row with an answer in the data, expected at least one"),
        ({"predicted": np.full(4, 2)}, "predicted: found numbers from 2 to 2, expected from 0 to 1"),
        (
            {"offsets": np.array([0, 4])},
            "offsets: found some for kind sequence, expected offsets for token tasks, and for no others",
        ),
        ({"kind": "token", "metric": "f1"}, "offsets: found none for kind token, expected"),
        (
            {"kind": "token", "metric": "f1", "offsets": np.array([0, 3])},
            "offsets: found offsets from 0 to 3, expected from 0 to 4",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, says):
    with pytest.raises(BadInput) as caught:
        dataclasses.replace(rights([1, 0, 1, 1]), **change)
    assert str(caught.value).startswith(says)


def test_probabilities_are_asked_for_where_they_are_needed():
    with pytest.raises(BadInput, match="scores: found an array of shape"):
        several(np.ones((2, 2), bool), np.ones((2, 2), bool), metric="average_precision")


def test_runs_of_other_rows_are_not_compared():
    run = one_of(3, [0, 1, 2], [0, 0, 0])
    check_same_rows(run, one_of(3, [0, 1, 2], [2, 2, 2]))
    with pytest.raises(BadInput, match=r"^a and b: true: found the answers of different test rows"):
        check_same_rows(run, one_of(3, [0, 1, 1], [0, 0, 0]), ("a", "b"))
    with pytest.raises(BadInput, match="metric: found accuracy and f1_macro, expected the same"):
        check_same_rows(run, dataclasses.replace(run, metric="f1_macro"))
    with pytest.raises(BadInput, match="labels: found different labels"):
        check_same_rows(run, dataclasses.replace(run, labels=["c", "b", "a"]))


def test_statistics_load_no_torch():
    probe = "import sys, trunkline.studies.statistics; print(*{'torch', 'sklearn', 'scipy.stats'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
