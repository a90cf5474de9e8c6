"""Every regime: two processes of a launch train what one trains with the gradients of two batches accumulated.

Nothing drops anything here, as the draws of a process are its own.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from launching import launch, sober_trunk, weights_of
from synthetic import config, write_rows

from trunkline.training.fit import fit
from trunkline.training.loop import Loop

LORA, ADAPTER = {"name": "lora", "r": 4, "dropout": 0.0}, {"name": "adapter", "reduction": 2}
SIDE = {"name": "adalayers", "dim": 16, "heads": 2, "dropout": 0.0}
MOOD, BOTH = ("mood",), ("mood", "cities")
slow = pytest.mark.slow
CASES = [
    pytest.param(LORA, BOTH, {"regime": "joint"}, id="joint lora"),
    *(
        pytest.param({"name": name} | more, MOOD, {}, id=name, marks=slow)
        for name, more in {
            "full": {},
            "full of the top block": {"name": "full", "top": 1},
            "lora": LORA,
            "adapter": ADAPTER,
            "bitfit": {},
            "layernorm": {},
            "ia3": {},
            "prompt": {"virtual_tokens": 4},
            "prefix": {"virtual_tokens": 4},
            "lora read by adalayers": {**LORA, "head": SIDE},
        }.items()
    ),
    pytest.param({"name": "full"}, BOTH, {"regime": "joint"}, id="joint full", marks=slow),
    pytest.param(LORA, BOTH, {"regime": "joint", "mixing": "proportional"}, id="joint, a task a batch", marks=slow),
    pytest.param(ADAPTER, BOTH, {"regime": "joint", "loss_weights": "uncertainty"}, id="joint, weighted", marks=slow),
    *(
        pytest.param(method, BOTH, {"regime": "sequential"}, id=f"sequential {method['name']}", marks=slow)
        for method in (LORA, ADAPTER, {"name": "full"})
    ),
    pytest.param(ADAPTER, BOTH, {"regime": "fusion"}, id="fusion", marks=slow),
    *(
        pytest.param({"dropout": 0.0, "name": name} if name != "head2toe" else {"name": name}, BOTH, {}, id=name, marks=slow)
        for name in ("adalayers", "head2toe", "ladder", "variability")
    ),
    pytest.param(SIDE, BOTH, {"states": "live"}, id="side branches on live passes", marks=slow),
    pytest.param(SIDE, (*BOTH, "topics", "stars"), {"accumulation": 2}, id="four side branches at once", marks=slow),
]


@pytest.fixture(scope="module")
def trunk(tmp_path_factory) -> Path:
    return sober_trunk(tmp_path_factory.mktemp("trunk"))


def train(values: dict, run: str, stopped: bool) -> None:
    fit(values, run_dir=run, progress=False)


@pytest.mark.parametrize(("method", "tasks", "training"), CASES)
def test_two_processes_train_what_one_does(method, tasks, training, processes, trunk, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 90)
    values = config(trunk, rows, tasks=tasks, **{"epochs": 2, "learning_rate": 1e-3, "batch_tokens": 128, **training})
    values["training"] |= {"schedule": "constant", "warmup": 0.0}  # of which the progress within a step is no part
    values["method"] = method
    launch(processes, values, tmp_path / "two", work=train)
    more = {"accumulation": 2 * training.get("accumulation", 1)}
    one = fit({**values, "training": {**values["training"], **more}}, run_dir=tmp_path / "one", progress=False)
    two = json.loads((tmp_path / "two" / "result.json").read_text())
    assert two["environment"]["processes"] == 2
    assert [entry["step"] for entry in two["history"]] == [entry["step"] for entry in one.summary["history"]]
    expected, found = weights_of(tmp_path / "one"), weights_of(tmp_path / "two")
    rounded = 1e-4 if "accumulation" in training else 1e-6  # four gradients are added up in another order
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=rounded)


def fail_in_one(values: dict, run: str, stopped: bool) -> None:
    """A candidate's loss is no number in the process that is not the main one, once."""
    batch, seen = Loop._batch, []

    def broken(self, own):
        found = batch(self, own)
        if self.keep_going and os.environ["RANK"] == "1" and not seen:
            seen.append(name := next(iter(self.learners)))
            self._fail(next(iter(self.learners[name].parts)), "the loss is nan")
        return found

    Loop._batch = broken
    fit(values, run_dir=run, progress=False)


@pytest.mark.slow
def test_a_candidate_that_fails_in_one_process_stops_in_all(processes, trunk, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 90)
    values = config(trunk, rows, tasks=MOOD, epochs=2)
    values["method"] = {"name": "auto"}
    del values["training"]["learning_rate"]
    launch(processes, values, tmp_path / "run", work=fail_in_one)
    candidates = json.loads((tmp_path / "run" / "result.json").read_text())["auto"]["tasks"]["mood"]["candidates"]
    assert any("in another process" in str(one) for one in candidates)
