import io
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from trunkline.cli import show
from trunkline.cli.answers import show_answers
from trunkline.cli.common import out
from trunkline.cli.evaluate import scored_on
from trunkline.events import metric_name
from trunkline.trackers.bars import BAR_WIDTH, losses_note, progress_bars


def printed(thing, width=80):
    console = Console(file=io.StringIO(), width=width)
    console.print(thing)
    return console.file.getvalue()


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1))
def test_a_longer_bar_is_a_larger_share(one, other):
    def length(share):
        text = show.bar(share, 1.0)
        return 8 * text.count("█") + sum(show._EIGHTHS.index(c) for c in text if c != "█")

    assert length(one) == round(8 * show.BAR * one)
    assert (length(one) <= length(other)) or one > other


@pytest.mark.parametrize(
    ("numbers", "words"),
    [([], "layers none"), ([3], "layer 3"), ([0, 1, 2, 6], "layers 0-2 and 6"), ([1, 3, 5, 6], "layers 1, 3 and 5-6")],
)
def test_ranges(numbers, words):
    assert show.ranges(numbers) == words


@pytest.mark.parametrize(("value", "words"), [(3.21, "3.2 s"), (75, "1 min 15 s"), (3600, "1 h 00 min"), (59.99, "60.0 s")])
def test_seconds(value, words):
    assert show.seconds(value) == words


def test_the_monitored_metric_comes_first_and_twins_are_left_out():
    metrics = {
        "accuracy": 0.5,
        "precision_macro": 0.4,
        "f1_macro": 0.3,
        "f1_micro": 0.5,
        "matthews": 0.2,
        "loss": 1.0,
        "by_label": {},
    }
    assert list(show.headline(metrics, "matthews")) == ["matthews", "accuracy", "f1_macro"]
    assert next(iter(show.headline(metrics, "loss"))) == "loss"


def test_labels_that_look_like_markup_are_printed_as_they_are():
    rows = {"[bold]x[/]": {"f1": 0.5, "support": 3}, "[/red]": {"f1": None, "support": 0}}
    table = show.by_label({"by_label": rows}, "[t] by label")
    text = printed(table)
    assert "[bold]x[/]" in text and "[/red]" in text and "-" in text


@pytest.mark.parametrize("width", [80, 120])
def test_layers_of_many_tasks_fit_the_terminal(width):
    task = {"layers": {str(i): 1 / 25 for i in range(25)}, "reads": list(range(25))}
    text = printed(show.layers_of({f"task number {i}": task for i in range(5)}), width)
    assert max(map(len, text.splitlines())) <= width
    assert text.count("24 ") >= 5


def test_nothing_that_goes_to_a_file_or_a_pipe_is_wrapped_or_cut(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("sys.stdout", io.StringIO())
    names = [("a long label " * 12).strip(), "b" * 200]
    rows = {name: dict.fromkeys(("precision", "recall", "f1", "support"), 0.5) for name in names}
    task = {"monitor": "f1", "validation": {"f1": 0.5}, "baseline": {"rule": "predicting what is usual " * 5, "validation": {}}}
    layers = {"layers": {str(i): 1 / 3 for i in range(3)}, "reads": [0, 1, 2]}
    answers = [{"t": {"labels": names}}]
    things = [show.by_label({"by_label": rows}, "t " * 60), show.scores({names[0]: task}), show.facts({"run": names[1]})]
    for thing in things:
        out().print(thing)
    out().print(show.layers_of({f"task {i}": layers for i in range(9)}))
    show_answers(out(), ["x " * 60], answers)
    printed = sys.stdout.getvalue().splitlines()
    for name in names:
        assert any(name in line and line.count("0.5000") == 4 for line in printed)
    for whole in ("t " * 60, f"run  {names[1]}", "baseline: always " + task["baseline"]["rule"], f"t: {', '.join(names)}"):
        assert any(whole.rstrip() in line for line in printed), whole
    assert len([line for line in printed if line.startswith("task ")]) == 9  # one below the other
    assert max(map(len, printed)) < 500  # nor filled up with blanks


def test_a_task_with_one_layer_to_read_has_no_bars():
    mixed = {"layers": {"0": 0.0, "1": 1.0}, "reads": [1]}  # it could have read another
    text = printed(show.layers_of({"plain": {"layers": {"3": 1.0}, "reads": [3]}, "mixed": mixed}))
    assert "plain" not in text and "mixed reads layer 1" in text and "not read" in text


def test_what_is_known_of_each_layer_is_a_table_of_all_tasks():
    tasks = {"a": {"by_layer": {"nu": {"0": 12.34567, "10": 3.0}}}, "b": {}, "c": {"by_layer": {"features": {"2": 7}}}}
    lines = [line.split() for line in printed(show.by_layer(tasks)).splitlines() if line.strip() and line.strip()[0] != "─"]
    assert lines == [["layer", "a:", "nu", "c:", "features"], ["0", "12.35"], ["2", "7"], ["10", "3"]]
    assert "a: nu" not in printed(show.by_layer({"a": tasks["a"]})) and "nu" in printed(show.by_layer({"a": tasks["a"]}))


def test_titles_are_on_one_line_where_the_terminal_is_wide_enough():
    shares = {"1": {"a": 0.25, "b": 0.75}}
    assert printed(show.attention("scenario", shares)).splitlines()[0] == "scenario: attention over adapters, by block"
    rows = {"x": {"f1": 0.5}}
    assert printed(show.by_label({"by_label": rows}, "a rather long name by label")).splitlines()[0].endswith("by label")
    assert max(map(len, printed(show.attention("scenario", shares), 20).splitlines())) <= 20


def test_each_order_of_a_sequence_is_told_by_its_number_and_names():
    report = {"order": ["b", "a"], "metric": {"a": "f1", "b": "f1"}, "matrix": [[0.5, None], [0.25, 0.5]], "alone": [0.5, 0.5]}
    report |= {"forgetting": 0.25, "backward_transfer": -0.25, "forward_transfer": 0.0}
    one, several = printed(show.transfer([report])), printed(show.transfer([{**report, "order": ["a", "b"]}, report]))
    assert "every task after every stage" in one and "order 1" not in one
    lines = [line.rstrip() for line in several.splitlines()]
    assert [line for line in lines if line.startswith("order ")] == [
        "order 1 of 2: a, b; every task after every stage",
        "order 2 of 2: b, a; every task after every stage",
    ]
    assert lines[lines.index("order 2 of 2: b, a; every task after every stage") - 1] == ""
    assert "scores above are of the first order" in several and "above" not in one


SPENT = {
    "trained_parameters_total": 300, "trunk_parameters": 100, "seconds": 3.0, "states_seconds": 0.0, "states_bytes": 0,
    "peak_memory_bytes": 1 << 20, "disk_bytes": {"a": 1_000_000, "b": 2_000_000}, "stages_bytes": 5_000_000,
    "epochs": [{"seconds": 1.0, "tokens": 10}],
}  # fmt: skip


def test_the_cost_of_several_stages_says_that_it_is_a_sum():
    stages = [{"name": name, "cost": {"trained_parameters_total": 100}} for name in ("alone-b", "1-a", "2-b", "fused")]
    text = printed(show.cost({"cost": SPENT, "run": "r", "stages": stages}))
    assert "400 weights in 4 stages together, 400 % of the trunk's 100" in " ".join(text.split())
    assert "branches 3 MB, stages 5 MB" in text.replace(".0 MB", " MB")
    alone = printed(show.cost({"cost": {**SPENT, "stages_bytes": 0, "trained_parameters_total": 50}, "run": "r"}))
    assert "50 weights, 50 % of the trunk's 100" in " ".join(alone.split())
    assert "stages" not in alone
    older = {key: value for key, value in SPENT.items() if key != "stages_bytes"}  # as runs were written before
    assert "stages" not in printed(show.cost({"cost": older, "run": "r"}))


def test_the_time_is_shown_by_its_parts():
    parts = {"load": 1.0, "read": 0.5, "states": 0.0, "training": 1.2, "judging": 0.0, "saving": 0.01, "other": 0.29}
    spent = {**SPENT, "parts": parts, "epochs": [{"seconds": 1.0, "tokens": 10}] * 2}
    text = printed(show.cost({"cost": spent, "run": "r"}), 120)
    assert "took     3.0 s: loading the trunk 1.0 s, reading data 0.5 s, training 1.2 s, other 0.3 s" in text
    assert "epochs   2, training 1.0 s each at 10 tokens/s" in text
    older = printed(show.cost({"cost": SPENT, "run": "r"})).splitlines()
    assert "took     3.0 s" in [line.rstrip() for line in older]


MOOD = {
    "monitor": "accuracy",
    "validation": {"loss": 0.5, "accuracy": 0.75, "f1": 0.5},
    "test": {"loss": 0.6, "accuracy": 0.7, "f1": 0.4},
}


def cells(text, metric):
    return next(line.split() for line in text.splitlines() if metric in line)


def test_scores_stand_beside_those_of_the_baseline():
    least = {
        "rule": "predicting the most frequent label",
        "validation": {"accuracy": 0.625, "f1": 0.0},
        "test": {"accuracy": 0.6},
    }
    text = printed(show.scores({"mood": {**MOOD, "baseline": least}}))
    assert text.splitlines()[1].split() == ["task", "metric", "validation", "baseline", "test", "baseline"]
    assert cells(text, "accuracy") == ["mood", "accuracy", "0.7500", "0.6250", "0.7000", "0.6000"]
    assert "baseline: always predicting the most frequent label" in text
    older = printed(show.scores({"mood": MOOD}))
    assert "baseline" not in older and cells(older, "accuracy") == ["mood", "accuracy", "0.7500", "0.7000"]
    mixed = printed(show.scores({"mood": {**MOOD, "baseline": least}, "old": MOOD}))
    assert cells(mixed, "old") == ["old", "accuracy", "0.7500", "0.7000"]
    other = {**least, "rule": "predicting the mean of the training rows"}
    text = printed(show.scores({"mood": {**MOOD, "baseline": least}, "stars": {**MOOD, "baseline": other}}))
    assert "baseline of mood: always" in text and "baseline of stars: always predicting the mean" in text


def test_a_threshold_chosen_on_validation_is_below_the_scores():
    tuned = {"threshold": 0.168, "untuned_threshold": 0.5, "metric": "f1_micro", "tuned": 0.85, "untuned": 0.8125}
    task = {"monitor": "f1_micro", "validation": {"f1_micro": 0.85}, "tuned": tuned}
    said = printed(show.scores({"topics": task}), 200).splitlines()[-1]
    assert said == "topics: threshold 0.168 instead of 0.5, chosen on validation: f1_micro 0.8125 -> 0.8500"
    assert "threshold" not in printed(show.scores({"topics": task | {"tuned": tuned | {"threshold": 0.5}}}))


def test_scores_of_two_labels_say_whose_they_are():
    text = printed(show.scores({"mood": {**MOOD, "monitor": "f1", "positive": "hate"}}))
    assert "f1 (hate)" in text and "accuracy (" not in text
    assert metric_name("f1_macro", "hate") == "f1_macro" and metric_name("f1", None) == "f1"
    assert len(metric_name("recall", "a label " * 20)) < 60 and "\n" not in metric_name("recall", "a\nb")


def test_blanks_at_the_ends_of_labels_are_seen():
    rows = {label: {"f1": 0.5} for label in ("Yes", "Yes ", " no", "")}
    said = printed(show.by_label({"by_label": rows}, "t"))
    assert "'Yes '" in said and "' no'" in said and "''" in said and " Yes " in f" {said}" and "'Yes'" not in said


def test_the_losses_that_fit_are_shown_and_the_others_counted():
    losses = {f"a task called {number}": 1.0 for number in range(9)}
    for width in range(12, 200):
        note = losses_note(losses, width)
        assert len(note) <= max(width, 16) and note.startswith("loss")
        shown, left = note.count("1.000"), int(note.rpartition("+")[2]) if "+" in note else 0
        assert shown + left == 9
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    bars = progress_bars(console)
    bars.add_task("epoch 13/20", total=100, completed=40, note=losses_note(losses, 80 - BAR_WIDTH))
    (line,) = [line for line in printed(bars.get_renderable()).splitlines() if line.strip()]
    assert "40%" in line and "epoch 13/20" in line and "1.000" in line and line.count("━") >= 10 and "…" not in line


def test_rows_that_differ_name_their_branches():
    found = {
        "mood": {"data": "a.csv", "rows": 1200},
        "city": {"data": "a.csv", "rows": 900},
        "x": {"data": "a.csv", "rows": 1200},
    }
    assert scored_on(found) == ["mood, x: scored on 1,200 rows of a.csv", "city: scored on 900 rows of a.csv"]
    assert scored_on({"mood": found["mood"]}) == ["scored on 1,200 rows of a.csv"]
