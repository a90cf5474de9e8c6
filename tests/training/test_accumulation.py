"""Gradients accumulated over batches are those of one batch with all of their rows, whatever adds to the loss."""

from __future__ import annotations

import math

import pytest
import torch
from synthetic import config, write_rows

from trunkline.events import quiet
from trunkline.training.config import resolve
from trunkline.training.fit import fit
from trunkline.training.run import Run
from trunkline.training.sampling import Batch

ADALAYERS = {"name": "adalayers", "dim": 16, "heads": 2, "alpha": 4, "dropout": 0.0, "entropy": 0.5}
ADAPTER = {"name": "adapter", "reduction": 4}
TASKS = ("mood", "stars", "topics")
CASES = {
    "side branches with an entropy penalty": (ADALAYERS, TASKS, {}),
    "separate": ({"name": "full"}, ("mood",), {}),
    "sequential": ({"name": "bitfit"}, ("mood", "stars"), {"regime": "sequential"}),
    "joint": (ADAPTER, TASKS, {"regime": "joint"}),
    "joint, weighted": (ADAPTER, TASKS, {"regime": "joint", "loss_weights": {"mood": 2.0, "stars": 0.5}}),
    "joint, uncertainty": (ADAPTER, TASKS, {"regime": "joint", "loss_weights": "uncertainty"}),
    "head with a penalty": ({**ADAPTER, "head": ADALAYERS}, ("mood",), {}),
    "fusion": ("fusion", ("mood",), {}),
}


@pytest.fixture
def rows(tmp_path):
    return write_rows(tmp_path / "rows.jsonl", 60)


def loop_of(case, trunk, rows, folder):
    method, tasks, training = CASES[case]
    values = config(trunk, rows, tasks=tasks, epochs=1, clip_norm=None, **training)
    if method == "fusion":
        adapters = fit(
            {**config(trunk, rows, tasks=("mood", "stars"), epochs=1), "method": ADAPTER}, run_dir=folder / "first"
        ).branches
        method = {"name": "fusion", "adapters": {name: str(path) for name, path in adapters.items()}}
    loop = Run(resolve({**values, "method": method}), quiet).loop(folder)
    for learner in loop.learners.values():
        learner.train(False)  # without dropout, which no two batches share
        for place in getattr(getattr(learner.source, "tuner", None), "places", ()):
            if place.fusion is not None:  # away from where its penalty has no slope
                torch.nn.init.normal_(place.fusion.value.weight, std=0.1)
    return loop


def gradients(loop, batches):
    """Of one step on `batches`, just before the optimiser would take it."""
    for batch in batches:
        loop._batch(batch)
    found = {}
    for name, learner in loop.learners.items():
        learner.average()
        for number, parameter in enumerate(learner.parameters()):
            if parameter.grad is not None:
                found[name, number] = parameter.grad.clone()
        learner.clear()
    return found


@pytest.mark.parametrize("case", CASES)
def test_gradients_of_accumulated_batches_are_those_of_one_large_batch(case, tiny_trunk_dir, rows, tmp_path):
    loop = loop_of(case, tiny_trunk_dir, rows, tmp_path)
    (source,) = loop.sources
    chosen = source.sequences[:24]
    whole = gradients(loop, [Batch(source, chosen)])
    assert whole and any(value.abs().sum() > 0 for value in whole.values())
    for parts in (2, 4):
        split = gradients(loop, [Batch(source, chosen[i::parts]) for i in range(parts)])
        assert split.keys() == whole.keys()
        for key, value in whole.items():
            torch.testing.assert_close(split[key], value, rtol=1e-4, atol=1e-6)


def test_a_penalty_counts_once_however_many_batches_a_step_has(tiny_trunk_dir, rows, tmp_path):
    """By hand: s begins at 0, so the slope of exp(-s) loss + s / 2 is 1/2 - loss."""
    loop = loop_of("joint, uncertainty", tiny_trunk_dir, rows, tmp_path)
    (source,) = loop.sources
    (learner,) = loop.learners.values()
    for parts in (1, 2, 4):
        chosen = [source.sequences[:24][i::parts] for i in range(parts)]
        losses = [loop._batch(Batch(source, part)) for part in chosen]
        learner.average()
        means = {name: math.fsum(float(found[name]) for found in losses) / parts for name in TASKS}
        expected = torch.tensor([0.5 - means[name] for name in TASKS])
        torch.testing.assert_close(learner.balance.log_variances.grad, expected)
        learner.clear()


def test_a_batch_that_teaches_a_task_nothing_does_not_weaken_its_step(tiny_trunk_dir, rows, tmp_path):
    loop = loop_of("side branches with an entropy penalty", tiny_trunk_dir, rows, tmp_path)
    (source,) = loop.sources
    chosen = source.sequences[:12]
    alone = gradients(loop, [Batch(source, chosen, ("mood",))])
    beside = gradients(
        loop, [Batch(source, chosen, ("mood",)), Batch(source, chosen, ("stars",)), Batch(source, chosen, ("stars",))]
    )
    for key, value in alone.items():
        torch.testing.assert_close(beside[key], value)
