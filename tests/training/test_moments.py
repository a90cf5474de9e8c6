"""Mean and deviation of pooled states, against numpy on the states themselves."""

from __future__ import annotations

import json

import numpy as np
import torch
from synthetic import config, write_rows

from trunkline.events import quiet
from trunkline.model.branch import load_branch
from trunkline.states.live import LiveStates
from trunkline.training import moments
from trunkline.training.config import resolve
from trunkline.training.fit import fit
from trunkline.training.run import Run


def paths(run, place):
    """By task, the linear path of its branch once a loop has been made, whatever mode its learner was in."""
    for learner in run.first[0].values():
        learner.train()
    run.loop(place)
    return {name: part.branch.path for learner in run.first[0].values() for name, part in learner.parts.items()}


def test_they_are_those_of_the_training_texts(tiny_trunk_dir, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 60)
    run = Run(resolve(config(tiny_trunk_dir, rows, tasks=("mood",), states="live")), quiet)
    found = paths(run, tmp_path / "run")["mood"]
    train, states = run.groups[0].splits["train"].encoded, {}
    every = np.arange(len(train.lengths))
    LiveStates(run.trunk, train).feed(every, found.layers, lambda layer, values: states.update({layer: values.numpy()}))
    for row, layer in enumerate(found.layers):
        parts = np.split(states[layer], np.cumsum(train.lengths)[:-1])
        pooled = np.stack([part.mean(0) for part in parts])
        np.testing.assert_allclose(found.mean[row], pooled.mean(0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(1 / found.scale[row], pooled.std(0), rtol=1e-3)


def test_a_task_has_the_same_whatever_other_tasks_there_are(tiny_trunk_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(moments, "TEXTS", 20)
    rows = write_rows(tmp_path / "rows.jsonl", 80)
    holed = [{**json.loads(line), **({"stars": None} if i % 3 else {})} for i, line in enumerate(rows.read_text().splitlines())]
    rows.write_text("".join(json.dumps(row) + "\n" for row in holed))

    def made(*tasks):
        values = config(tiny_trunk_dir, rows, tasks=tasks, states="live")
        values["data"] |= {"validation": str(rows), "test": None}  # a draw would be stratified by the first task
        return paths(Run(resolve(values), quiet), tmp_path / "run")

    together, alone = made("stars", "mood", "cities"), made("mood") | made("stars")
    assert together["cities"] is None
    for name in ("mood", "stars"):
        assert torch.equal(together[name].mean, alone[name].mean) and torch.equal(together[name].scale, alone[name].scale)
    assert not torch.equal(together["mood"].mean, together["stars"].mean), "texts without a number are not counted for stars"


def test_a_saved_branch_has_them(tiny_trunk_dir, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 60)
    values = config(tiny_trunk_dir, rows, tasks=("mood",), epochs=1)
    done = fit(values, run_dir=tmp_path / "run")
    expected = paths(Run(resolve(values), quiet), tmp_path / "other")["mood"]
    found = load_branch(done.branches["mood"]).module.path
    assert torch.equal(found.mean, expected.mean) and torch.equal(found.scale, expected.scale) and found.weight.any()


def test_on_a_trunk_that_is_trained_nothing_is_dropped(tiny_trunk_dir, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 60)
    values = config(tiny_trunk_dir, rows, tasks=("mood",))
    values["method"] = {"name": "lora", "r": 2, "dropout": 0.5, "head": {"name": "adalayers", "dim": 16, "heads": 2}}
    tuned = paths(Run(resolve(values), quiet), tmp_path / "tuned")["mood"]
    frozen = paths(Run(resolve({**values, "method": values["method"]["head"]}), quiet), tmp_path / "frozen")["mood"]
    torch.testing.assert_close(tuned.mean, frozen.mean, rtol=1e-2, atol=1e-2)  # the store has the frozen trunk's in bf16
    torch.testing.assert_close(tuned.scale, frozen.scale, rtol=5e-2, atol=1e-2)
