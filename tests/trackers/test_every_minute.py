"""What a fit and a distillation write to a log within long epochs and passes: a line a minute, on a clock of the test's own."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from trunkline.events import (
    BatchEnded,
    EpochEnded,
    Evaluated,
    EvaluationProgress,
    Preparing,
    SearchStarted,
    StatesProgress,
    TrainingStarted,
)
from trunkline.trackers import every_minute
from trunkline.trackers.progress import FitProgress
from trunkline.trackers.student_progress import StudentProgress


@pytest.fixture
def log(monkeypatch):
    """A function of a display and of pairs (seconds that pass, event): the lines that were written."""
    time = [1000.0]
    monkeypatch.setattr(every_minute, "now", lambda: time[0])

    def written(made, *told, terminal=False):
        console = Console(file=io.StringIO(), width=200, force_terminal=terminal)
        display = made(console)
        for seconds, event in told:
            time[0] += seconds
            display(event)
        return console.file.getvalue().replace("\u00a0", " ").splitlines()

    return written


BOTH = pytest.mark.parametrize("made", [FitProgress, StudentProgress])


@BOTH
def test_long_epochs_have_a_line_a_minute_with_the_time_left(log, made):
    judged = Evaluated(100, 1, {"student": {"validation": {"loss": 0.5, "mse": 0.5}, "best": True}})
    lines = log(
        made,
        (0, TrainingStarted(100, 3, varying=True)),
        (90, BatchEnded(0, 1, 100, {})),  # nothing to tell the speed by
        (30, BatchEnded(0, 21, 100, {})),
        (29, BatchEnded(0, 31, 100, {})),
        (61, BatchEnded(0, 61, 100, {})),  # 60 of 299 batches in 120 s: 478 s for the others
        (60, BatchEnded(0, 100, 100, {})),
        (59, judged),
        (0, EpochEnded(1, 3, 270.0, 30.0, 10)),  # a line, so the next is due a minute later
        (59, BatchEnded(1, 30, 100, {})),
        (1, BatchEnded(1, 40, 100, {})),  # 139 batches in 299 s: 344 s for 160
    )
    expected = ["epoch 1 of 3, 1%", "epoch 1 of 3, 61%; about 8 min left", "epoch 1 of 3, 100%; about 6 min left"]
    assert [line for line in lines if line.startswith("epoch") and " of " in line] == [
        *expected,
        "epoch 2 of 3, 40%; about 6 min left",
    ]


@BOTH
def test_a_long_pass_has_a_line_a_minute_and_its_end(log, made):
    states = [(seconds, StatesProgress("train", done, 1000)) for seconds, done in ((5, 0), (59, 100), (1, 200), (240, 1000))]
    assert log(made, (0, Preparing("reading the data")), *states) == [
        "reading the data",
        "computing layer states of train: 1,000 tokens",
        "layer states of train, 20%; about 4 min left",
        "layer states of train: 1,000 tokens computed in 300.0 s and stored",
    ]


def test_a_long_evaluation_has_a_line_a_minute(log):
    told = [EvaluationProgress("test", done, 10) for done in (2, 4, 7)]
    lines = log(FitProgress, (0, Preparing("reading the data")), (59, told[0]), (1, told[1]), (59, told[2]))
    assert lines == ["reading the data", "evaluating on test, 40%"]


@BOTH
def test_a_training_that_is_resumed_is_timed_from_there(log, made):
    lines = log(
        made,
        (0, TrainingStarted(10, 2)),
        (1, BatchEnded(1, 6, 10, {})),
        (60, BatchEnded(1, 7, 10, {})),  # of three that are left
    )
    assert lines[-1] == "epoch 2 of 2, 70%; about 3 min left"


@BOTH
def test_a_terminal_gets_no_such_line(log, made):
    events = [(61, BatchEnded(0, number, 10, {})) for number in range(1, 9)]
    events += [(61, StatesProgress("train", done, 10)) for done in (0, 4)]
    assert log(made, (0, TrainingStarted(10, 2)), *events, terminal=True) == log(
        made, (0, TrainingStarted(10, 2)), terminal=True
    )


def test_a_search_says_no_time_as_its_candidates_drop_out(log):
    lines = log(
        FitProgress,
        (0, SearchStarted({"mood": 4}, 10, 3)),
        (10, BatchEnded(0, 1, 10, {})),
        (60, BatchEnded(0, 5, 10, {})),
        (5, TrainingStarted(10, 3)),
        (60, BatchEnded(0, 1, 10, {})),
        (60, BatchEnded(0, 2, 10, {})),
    )
    assert [line for line in lines if line.startswith("epoch")] == [
        "epoch 1 of 3, 50%",
        "epoch 1 of 3, 10%",
        "epoch 1 of 3, 20%; about 28 min left",
    ]


def test_a_training_of_which_only_batches_are_told_has_no_number_of_epochs(log):
    batches = [(60, BatchEnded(2, number, 10, {})) for number in (1, 2)]
    assert log(FitProgress, *batches) == ["epoch 3, 10%", "epoch 3, 20%"]
