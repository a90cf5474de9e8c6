"""Learning curves, confusion matrices, scores by label and predicted against true numbers."""

from __future__ import annotations

import numpy as np
import pytest
from drawn import cells, colours, drawn, inside, names, panels
from sklearn import metrics as sk

from trunkline.tasks.metrics import regression_metrics, sequence_metrics

HISTORY = [
    {"step": 10 * epoch, "epoch": epoch, "tasks": {"mood": {"validation": {"accuracy": score, "loss": loss}, "best": best}}}
    for epoch, score, loss, best in [(1, 0.5, 0.9, True), (2, 0.75, 0.6, True), (3, 0.625, 0.7, False)]
]


def labelled(count, rows=400, seed=0, wrong=0.2):
    """The metrics of a task of `count` labels, with what they were made from."""
    draw = np.random.default_rng(seed)
    true = draw.integers(0, count, rows)
    predicted = np.where(draw.random(rows) < wrong, draw.integers(0, count, rows), true)
    labels = [f"label_{number}" for number in range(count)]
    return sequence_metrics(true, predicted, labels), true, predicted, labels


def lines(axes):
    return {line.get_label(): line for line in axes.get_lines()}


def test_learning_curves_mark_the_best_evaluation_and_show_the_losses():
    for entry, loss in zip(HISTORY, [1.5, 0.5, 0.25], strict=True):
        entry["tasks"]["mood"]["train_loss"] = loss
    score, losses = panels(drawn({"mood": {}}, history=HISTORY))
    found = lines(score)
    assert list(found["validation accuracy"].get_xdata()) == [1, 2, 3]
    assert list(found["validation accuracy"].get_ydata()) == [0.5, 0.75, 0.625]
    assert (list(found["best: 0.750"].get_xdata()), list(found["best: 0.750"].get_ydata())) == ([2], [0.75])
    assert list(lines(losses)["training loss"].get_ydata()) == [1.5, 0.5, 0.25]
    assert list(lines(losses)["validation loss"].get_ydata()) == [0.9, 0.6, 0.7]
    assert score.get_xlabel() == "epoch" and score.get_title() == "mood: learning curve"
    assert {text.get_text() for text in score.get_legend().get_texts()} == {*found, *lines(losses)}


def test_a_threshold_that_was_chosen_after_training_has_a_mark_of_its_own():
    tuned = {"threshold": 0.168, "untuned_threshold": 0.5, "metric": "accuracy", "tuned": 0.875, "untuned": 0.75}
    figure = drawn({"mood": {"tuned": tuned}}, history=HISTORY)
    found = lines(panels(figure)[0])
    assert found["best: 0.750"].get_ydata() == [0.75]
    mark = found["with threshold 0.168: 0.875"]
    assert (list(mark.get_xdata()), list(mark.get_ydata())) == ([2], [0.875]) and inside(figure)
    figure = drawn({"mood": {"tuned": tuned | {"threshold": 0.5, "thresholds": [0.2, 0.5]}}}, history=HISTORY)
    assert "with thresholds by label: 0.875" in lines(panels(figure)[0])
    for kept in ({"metric": "f1_micro"}, {"threshold": 0.5}):  # the curve shows another metric; it has this threshold
        figure = drawn({"mood": {"tuned": tuned | kept}}, history=HISTORY)
        assert not [label for label in lines(panels(figure)[0]) if "threshold" in label]


def test_evaluations_within_an_epoch_are_drawn_by_step_and_a_history_of_an_earlier_version_has_no_training_loss():
    entries = [
        {"step": step, "epoch": 1, "tasks": {"mood": {"validation": {"accuracy": score, "loss": 1.0}, "best": True}}}
        for step, score in [(5, None), (10, 0.5)]
    ]
    score, losses = panels(drawn({"mood": {}}, history=entries))
    assert score.get_xlabel() == "step" and list(lines(score)["validation accuracy"].get_xdata()) == [5, 10]
    assert set(lines(losses)) == {"validation loss"} and "best: 0.500" in lines(score)


def test_a_task_that_is_judged_by_its_loss_has_one_axis():
    (axes,) = panels(drawn({"mood": {"monitor": "loss"}}, history=HISTORY))
    assert "best: 0.600" in lines(axes)


def test_a_task_has_curves_for_every_stage_that_trained_it():
    stages = [{"name": name, "history": HISTORY} for name in ("1-mood", "2-mood")]
    figure = drawn({"mood": {}}, stages=stages, history=[*HISTORY, *HISTORY])
    assert [axes.get_title() for axes in panels(figure) if axes.get_title()] == [
        f"mood: learning curve (stage {number})" for number in (1, 2)
    ]
    assert inside(figure)
    name = "mood_of_the_reviewer_of_the_film"  # so long that with its stage the title was cut
    entries = [{**entry, "tasks": {name: entry["tasks"]["mood"]}} for entry in HISTORY]
    stages = [{"name": f"{stage}-{name}", "history": entries} for stage in ("adapter", "fusion")]
    titles = [axes.get_title() for axes in panels(drawn({name: {}}, stages=stages)) if axes.get_title()]
    assert titles == [f"{name}: learning curve (stage {stage})" for stage in ("adapter", "fusion")]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_confusion_matrix_has_the_counts_and_its_colours_are_shares_of_the_true_label(split):
    metrics, true, predicted, labels = labelled(7)
    figure = drawn({"intent": {split: metrics}})
    matrix = panels(figure)[0]
    expected = sk.confusion_matrix(true, predicted)
    assert cells(matrix) == [[f"{count:,}" if count else "" for count in row] for row in expected.tolist()]
    assert np.allclose(colours(matrix), expected / expected.sum(axis=1, keepdims=True))
    assert names(matrix.xaxis) == names(matrix.yaxis) == labels
    assert (matrix.get_xlabel(), matrix.get_ylabel()) == ("predicted", "true")
    assert inside(figure)


def test_a_label_without_a_row_has_no_colour():
    metrics = sequence_metrics(np.array([0, 0]), np.array([0, 1]), ["a", "b"])
    assert colours(panels(drawn({"x": {"test": metrics}}))[0]).mask.tolist() == [[False, False], [True, True]]


@pytest.mark.parametrize(("count", "shown"), [(64, 64), (150, 40)])
def test_many_labels_have_no_numbers_and_of_very_many_the_worst_are_shown(count, shown):
    metrics, true, predicted, labels = labelled(count, rows=3000)
    figure = drawn({"intent": {"test": metrics}})
    matrix, bars = panels(figure)
    assert not matrix.texts and len(names(matrix.yaxis)) == shown and inside(figure)
    assert len(bars.patches) == shown
    scores = dict(zip(labels, sk.f1_score(true, predicted, average=None), strict=True))
    assert [bar.get_width() for bar in bars.patches] == pytest.approx(sorted(scores.values(), reverse=True)[-shown:])
    if count > shown:
        wrong = {label: sum((true == i) != (predicted == i)) for i, label in enumerate(labels)}
        fewest = min(wrong[label] for label in names(matrix.yaxis))
        assert all(number <= fewest for label, number in wrong.items() if label not in names(matrix.yaxis))


def test_few_labels_have_precision_recall_and_f1_and_their_support():
    metrics, true, predicted, labels = labelled(3)
    bars = panels(drawn({"mood": {"test": metrics}}))[1]
    expected = sk.precision_recall_fscore_support(true, predicted)
    for container, values in zip(bars.containers, expected[:3], strict=True):
        assert [bar.get_width() for bar in container] == pytest.approx(values.tolist())
    assert names(bars.yaxis) == [f"{label}  {count}" for label, count in zip(labels, expected[3].tolist(), strict=True)]


def test_spans_have_bars_and_no_confusion_matrix():
    rows = {"city": {"precision": 0.5, "recall": 1.0, "f1": 0.6667, "support": 12}}
    (bars,) = panels(drawn({"slots": {"monitor": "f1", "test": {"f1": 0.6667, "by_label": rows}}}))
    assert [bar.get_width() for bar in bars.patches] == [0.5, 1.0, 0.6667]


def test_numbers_are_drawn_predicted_against_true():
    true = np.arange(10.0)
    metrics = regression_metrics(true, true + 0.5)
    (axes,) = panels(drawn({"stars": {"monitor": "pearson", "test": metrics}}))
    assert axes.collections[0].get_offsets().tolist() == [[value, value + 0.5] for value in true.tolist()]


def test_of_many_numbers_some_are_kept_from_the_first_to_the_last():
    sample = regression_metrics(np.arange(5000.0), np.arange(5000.0))["sample"]
    assert len(sample) == 300 and "0" in sample and "4999" in sample
    assert all(pair == {"true": float(row), "predicted": float(row)} for row, pair in sample.items())


def test_five_tasks_of_all_kinds_fit_into_one_picture():
    weights = {"layers": {"0": 0.5, "1": 0.5}, "reads": [0, 1]}
    tasks = {f"task_{count}": {"test": labelled(count)[0], **weights} for count in (2, 7, 13)}
    numbers = regression_metrics(np.arange(50.0), np.arange(50.0)[::-1].copy())
    tasks |= {name: {"monitor": "pearson", "test": numbers} for name in ("stars", "price")}
    found = [{name: {"validation": {"loss": loss}, "best": True} for name in tasks} for loss in (1.0, 0.5)]
    entries = [{"step": step, "epoch": step, "tasks": scores} for step, scores in enumerate(found, 1)]
    figure = drawn(tasks, history=entries)
    assert inside(figure) and len(panels(figure)) == 2 * 5 + 3 + 2 + 3 + 3


@pytest.mark.parametrize(("metric", "scores", "span"), [("accuracy", (0.703, 0.711), 0.1), ("mse", (30.0, 30.1), 3.0)])
def test_a_score_that_hardly_moves_does_not_fill_its_axis(metric, scores, span):
    entries = [
        {"step": n, "epoch": n, "tasks": {"mood": {"validation": {metric: score, "loss": 1.0}, "best": n == 1}}}
        for n, score in enumerate(scores, 1)
    ]
    low, high = panels(drawn({"mood": {"monitor": metric}}, history=entries))[0].get_ylim()
    assert high - low == pytest.approx(span, rel=0.02) and low < min(scores) < max(scores) < high
    low, high = panels(drawn({"mood": {}}, history=HISTORY))[0].get_ylim()
    assert 0.25 < high - low < 0.3
