import dataclasses
import json
import logging
from pathlib import Path

import pytest
import torch

from trunkline.events import BatchEnded, EpochEnded, Finding, Publisher, RunStarted, TaskFacts, as_dict

EPOCH = EpochEnded(1, 2, 3.0, 0.5, 100)


def test_subscribers_are_told_in_turn():
    told = []
    publish = Publisher([lambda event: told.append(("a", event)), lambda event: told.append(("b", event))])
    publish(EPOCH)
    publish(Finding("x"))
    assert told == [("a", EPOCH), ("b", EPOCH), ("a", Finding("x")), ("b", Finding("x"))]


def test_one_that_fails_is_named_once_and_told_no_more(caplog):
    told, calls = [], []

    class Broken:
        def __call__(self, event):
            calls.append(event)
            raise ValueError("a text of a user")

    publish = Publisher([Broken(), told.append])
    with caplog.at_level(logging.WARNING, "trunkline"):
        publish(EPOCH)
        publish(EPOCH)
    assert told == [EPOCH, EPOCH] and calls == [EPOCH]
    [said] = [record.getMessage() for record in caplog.records]
    assert "Broken failed at EpochEnded (ValueError)" in said and "a text" not in said


def test_an_error_of_the_system_is_named_by_its_type_and_its_reason(caplog):
    def full(event):
        raise OSError(28, "No space left on device", "/a/path")

    with caplog.at_level(logging.WARNING, "trunkline"):
        Publisher([full])(EPOCH)
    assert "failed at EpochEnded (OSError: No space left on device)" in caplog.text


def test_an_interrupt_gets_through():
    def interrupt(event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Publisher([interrupt])(EPOCH)


def test_events_are_frozen_and_become_plain_json():
    with pytest.raises(dataclasses.FrozenInstanceError):
        EPOCH.epoch = 3
    data = {"rows": {"train": 3}, "labels": {"train": {"good": 1, "bad": 2}}}
    facts = TaskFacts("mood", "sequence", "f1", 2, positive="good", data=data)
    started = RunStarted(Path("run"), "1a", {"data": {"train": ["x"]}}, (facts,), {"mood": 5}, ())
    assert json.loads(json.dumps(as_dict(started))) == {
        "event": "RunStarted",
        "path": "run",
        "identity": "1a",
        "config": {"data": {"train": ["x"]}},
        "tasks": [
            {
                "name": "mood",
                "kind": "sequence",
                "monitor": "f1",
                "labels": 2,
                "types": None,
                "positive": "good",
                "data": {"rows": {"train": 3}, "labels": {"train": {"good": 1, "bad": 2}}},
            }
        ],
        "trained_parameters": {"mood": 5},
        "stages": [],
    }
    assert as_dict(BatchEnded(0, 1, 2, {"mood": torch.tensor(0.5)}))["losses"] == {"mood": 0.5}
