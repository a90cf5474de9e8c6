import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from trunkline.cli import show


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


def test_a_task_with_one_layer_to_read_has_no_bars():
    mixed = {"layers": {"0": 0.0, "1": 1.0}, "reads": [1]}  # it could have read another
    text = printed(show.layers_of({"plain": {"layers": {"3": 1.0}, "reads": [3]}, "mixed": mixed}))
    assert "plain" not in text and "mixed reads layer 1" in text and "not read" in text
