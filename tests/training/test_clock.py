"""The parts of a run's time are disjoint and add up to what has passed, also over several launches."""

import pytest

from trunkline.training import clock
from trunkline.training.clock import PARTS, Clock
from trunkline.training.estimate import Estimate


@pytest.fixture
def wait(monkeypatch):
    """A clock on the wall that stands still but for this."""
    time = [100.0]
    monkeypatch.setattr(clock, "now", lambda: time[0])

    def forward(seconds):
        time[0] += seconds

    return forward


def test_parts_within_parts_are_counted_once_and_the_rest_is_other(wait):
    counted = Clock()
    wait(1)
    with counted.part("read"):
        wait(2)
    with counted.part("states"):
        wait(3)
        with counted.part("saving"):
            wait(4)
        wait(0.5)
    counted.add("training", 0.25)
    wait(10)
    found = counted.as_dict()
    assert found["parts"] == {
        "load": 0.0, "read": 2.0, "states": 3.5, "training": 0.25, "judging": 0.0, "saving": 4.0, "other": 10.75,
    }  # fmt: skip
    assert found["seconds"] == 20.5 == sum(found["parts"].values()) and {*found["parts"]} == {*PARTS, "other"}


def test_a_part_that_fails_is_counted(wait):
    counted = Clock()
    with pytest.raises(ValueError), counted.part("load"):
        wait(2)
        raise ValueError
    assert counted.as_dict()["parts"]["load"] == 2


def test_a_run_that_is_resumed_goes_on_counting_and_no_time_counts_twice(wait):
    first = Clock()
    with first.part("training"):
        wait(5)
    stage = first.as_dict()
    with first.part("judging"):
        wait(2)
    checkpoint = first.as_dict()  # holds what `stage` held
    second = Clock()
    with second.part("training"):
        wait(1)
    for saved in (checkpoint, stage, {}):
        second.resume(saved)
    found = second.as_dict()
    assert (found["parts"]["training"], found["parts"]["judging"], found["seconds"]) == (6, 2, 8)


def test_time_is_estimated_once_from_the_batches_after_the_first():
    estimate = Estimate(batches=100, judged=0.3)
    assert estimate.batch(50.0) is None  # the first, which also warms up
    assert [estimate.batch(seconds) for seconds in (1.0, 0.5)] == [None, None]
    assert estimate.batch(1.5) == pytest.approx(100 * 1.0 * 1.1)  # a second each, and a third of it for 0.3 of the tokens
    assert estimate.batch(1.0) is None


def test_a_training_of_a_moment_is_not_estimated():
    estimate = Estimate(batches=10, judged=0.0)
    assert all(estimate.batch(0.01) is None for _ in range(10))
