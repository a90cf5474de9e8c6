"""A request to stop is heard whenever it comes: the end of a stage is no exception. test_resume.py sends real signals."""

from __future__ import annotations

import json
import signal

import pytest
from synthetic import config, write_rows

from trunkline.events import Evaluated, Resumed, StageStarted
from trunkline.training import resumable
from trunkline.training.fit import fit
from trunkline.training.loop import Loop
from trunkline.training.resumable import Interrupted
from trunkline.training.signals import StopRequest


@pytest.fixture
def requests(monkeypatch) -> list[StopRequest]:
    """Those of the loops that were made, in order."""
    made: list[StopRequest] = []

    class Told(StopRequest):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    monkeypatch.setattr(resumable, "StopRequest", Told)
    return made


def test_a_request_during_the_evaluation_that_ends_a_stage_early_is_heard(tiny_trunk_dir, tmp_path, requests):
    rows = write_rows(tmp_path / "rows.jsonl", 60)
    # So slow that nothing gets better, so that the second evaluation of each stage is its last.
    values = config(tiny_trunk_dir, rows, tasks=("mood", "stars"), epochs=9, patience=1, learning_rate=1e-12)
    values["method"] = {"name": "bitfit"}
    whole = fit(values, run_dir=tmp_path / "whole")
    assert len(whole.summary["history"]) < 9
    seen = []

    def see(event):
        seen.append(type(event))
        if isinstance(event, Evaluated) and seen.count(Evaluated) == 2:
            requests[-1]._ask(signal.SIGTERM, None)

    with pytest.raises(Interrupted, match="rerun the same command to resume"):
        fit(values, run_dir=tmp_path / "run", subscribers=[see])
    assert seen.count(StageStarted) == 1
    again = fit(values, run_dir=tmp_path / "run", subscribers=[see])
    assert seen.count(Resumed) == 1 and again.summary["history"] == whole.summary["history"]
    for name, path in whole.branches.items():
        assert (path / "weights.safetensors").read_bytes() == (again.branches[name] / "weights.safetensors").read_bytes()


def test_a_request_after_the_last_look_is_heard(tiny_trunk_dir, tmp_path, requests, monkeypatch):
    values = config(tiny_trunk_dir, write_rows(tmp_path / "rows.jsonl", 40), tasks=("mood",), epochs=2)
    real = Loop.epoch

    def epoch(self):
        real(self)
        if self.position.epoch == 2:
            requests[-1]._ask(signal.SIGINT, None)

    monkeypatch.setattr(Loop, "epoch", epoch)
    with pytest.raises(Interrupted):
        fit(values, run_dir=tmp_path / "run")
    saved = json.loads((tmp_path / "run" / "checkpoint" / "state.json").read_text())["position"]["clock"]
    cost = fit(values, run_dir=tmp_path / "run").cost
    assert len(cost["epochs"]) == 2
    # The time of the first launch counts too; the second has nothing left to train.
    assert cost["parts"]["training"] == saved["parts"]["training"] and cost["seconds"] >= saved["seconds"]
