"""Trunks that are divided among two processes (training.shard) become what one process trains."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from launching import launch, sober_trunk, weights_of
from synthetic import config, write_rows

from trunkline.errors import BadInput
from trunkline.model.bundle import Bundle
from trunkline.training import resumable
from trunkline.training.fit import fit
from trunkline.training.loop import Loop

LORA = {"name": "lora", "r": 4, "dropout": 0.0}
MOOD, BOTH = ("mood",), ("mood", "cities")


@pytest.fixture(scope="module")
def trunk(tmp_path_factory) -> Path:
    return sober_trunk(tmp_path_factory.mktemp("trunk"))


@pytest.fixture
def values(trunk, tmp_path):
    def made(method: dict, tasks=MOOD, **training) -> dict:
        rows = write_rows(tmp_path / "rows.jsonl", 95)  # in an odd number of batches: one process has none in the last round
        found = config(trunk, rows, tasks=tasks, **{"epochs": 2, "learning_rate": 1e-3, "batch_tokens": 128, **training})
        found["training"] |= {"schedule": "constant", "warmup": 0.0, "shard": True}
        return {**found, "method": method}

    return made


def train(values: dict, run: str, stopped: bool) -> None:
    """As `fit`, to the first step if `stopped`; writes which share of what is trained each process holds."""
    begin = Loop.run

    def measured(self):
        own = [p for learner in self.learners.values() for p in learner.parameters()]
        held = sum((p.to_local() if hasattr(p, "to_local") else p).numel() for p in own)
        Path(f"{run}.share").write_text(str(held / sum(p.numel() for p in own)))
        return begin(self)

    Loop.run = measured
    resumable.CHECKPOINT_SECONDS = 0
    if stopped:
        resumable.StopRequest.made = property(lambda self: True, lambda self, value: None)
    try:
        fit(values, run_dir=run, progress=False)
    except resumable.Interrupted:
        assert stopped


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "tasks", "training"),
    [
        pytest.param({"name": "full"}, MOOD, {}, id="full"),
        pytest.param({"name": "full", "top": 1}, MOOD, {}, id="full of the top block"),
        pytest.param({"name": "full"}, BOTH, {"regime": "joint", "gradient_checkpointing": True}, id="joint, recomputed"),
        pytest.param({"name": "full"}, BOTH, {"regime": "joint", "mixing": "uniform"}, id="joint, a task a batch"),
        pytest.param(LORA, MOOD, {}, id="lora"),
        pytest.param(LORA, BOTH, {"regime": "sequential"}, id="sequential lora"),
    ],
)
def test_two_processes_with_a_divided_trunk_train_what_one_does(method, tasks, training, values, processes, tmp_path):
    given = values(method, tasks, **training)
    launch(processes, given, tmp_path / "two", work=train)
    one = fit({**given, "training": {**given["training"], "accumulation": 2}}, run_dir=tmp_path / "one", progress=False)
    assert float(Path(f"{tmp_path / 'two'}.share").read_text()) < 0.8
    two = json.loads((tmp_path / "two" / "result.json").read_text())
    assert [entry["step"] for entry in two["history"]] == [entry["step"] for entry in one.summary["history"]]
    expected, found = weights_of(tmp_path / "one"), weights_of(tmp_path / "two")
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-4)
    assert names(tmp_path / "two" / "branches") == names(tmp_path / "one" / "branches")
    texts = ["the film was good", "awful weather in paris"]
    answers = [[row["mood"]["label"] for row in Bundle.open(tmp_path / run).predict(texts)] for run in ("one", "two")]
    assert answers[0] == answers[1]


@pytest.mark.slow
@pytest.mark.parametrize("method", [{"name": "full"}, {"name": "lora", "r": 4}], ids=["full", "lora"])
def test_a_divided_run_resumes_to_the_same_bits(method, values, processes, tmp_path):
    given = values(method)
    launch(processes, given, tmp_path / "whole", work=train)
    launch(processes, given, tmp_path / "run", stopped=True, work=train)
    assert json.loads((tmp_path / "run" / "checkpoint" / "state.json").read_text())["position"]["step"] == 1
    launch(processes, given, tmp_path / "run", work=train)
    assert (
        json.loads((tmp_path / "run" / "result.json").read_text())["history"]
        == (json.loads((tmp_path / "whole" / "result.json").read_text())["history"])
    )
    whole, resumed = weights_of(tmp_path / "whole"), weights_of(tmp_path / "run")
    assert all(torch.equal(value, resumed[key]) for key, value in whole.items())


def refused(values: dict, run: str, stopped: bool) -> None:
    with pytest.raises(BadInput, match=r"training\.shard.*found true, expected false"):
        fit(values, run_dir=run, progress=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", [{"name": "adapter"}, {**LORA, "head": {"name": "single_layer", "layer": 1}}], ids=["adapter", "head below"]
)
def test_what_cannot_be_divided_is_refused(method, values, processes, tmp_path):
    launch(processes, values(method), tmp_path / "run", work=refused)


@pytest.mark.parametrize("key", ["shard", "gradient_checkpointing"])
def test_a_frozen_trunk_has_nothing_to_divide_or_recompute(key, values, tmp_path):
    given = values({"name": "probe"}, shard=False)
    given["training"] |= {"shard": False, key: True}
    with pytest.raises(BadInput, match=rf"training\.{key}: found true, expected false: probe does not change the trunk"):
        fit(given, run_dir=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
