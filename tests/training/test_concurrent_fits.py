"""Fits in several threads of one process end with the bits that each ends with alone, and leave global generators alone."""

from __future__ import annotations

import random
import threading

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from synthetic import config, write_rows

from trunkline.model.branch import load_branch
from trunkline.model.bundle import Bundle
from trunkline.training.fit import fit

METHODS = [
    {"name": "adalayers", "dim": 16, "heads": 2, "dropout": 0.3},
    {"name": "lora", "r": 4, "dropout": 0.3},
    {"name": "adapter", "reduction": 4},
]


@pytest.fixture
def rows(tmp_path):
    return write_rows(tmp_path / "rows.jsonl", 60)


def values(trunk, rows, number):
    made = config(trunk, rows, tasks=("mood", "cities"), epochs=2, seed=number, evaluate_every=2)
    return {**made, "method": METHODS[number]}


def weights(result):
    return {
        (task, name): value
        for task, path in result.branches.items()
        for name, value in load_file(path / "weights.safetensors").items()
    }


def test_three_fits_in_three_threads_end_with_the_bits_of_each_alone(tiny_trunk_dir, rows, tmp_path):
    alone = [fit(values(tiny_trunk_dir, rows, n), run_dir=tmp_path / f"alone{n}") for n in range(3)]
    together, start = {}, threading.Barrier(4)

    def train(n):
        start.wait()
        together[n] = fit(values(tiny_trunk_dir, rows, n), run_dir=tmp_path / f"together{n}")

    stop = threading.Event()

    def load():  # makes modules, whose first weights are drawn
        start.wait()
        while not stop.is_set():
            for result in alone:
                for path in result.branches.values():
                    load_branch(path, device="cpu")

    threads = [threading.Thread(target=train, args=(n,)) for n in range(3)]
    loader = threading.Thread(target=load)
    for thread in (*threads, loader):
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    loader.join()
    for n in range(3):
        expected, found = weights(alone[n]), weights(together[n])
        assert expected.keys() == found.keys() and all(torch.equal(expected[key], found[key]) for key in expected)
        assert alone[n].summary["history"] == together[n].summary["history"]


@pytest.mark.parametrize("number", range(3))
def test_nothing_is_drawn_from_the_generators_of_the_process(number, tiny_trunk_dir, rows, tmp_path):
    """Whatever draws from them outside of a seeded block could meet a seeded block of another thread."""
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    result = fit(values(tiny_trunk_dir, rows, number), run_dir=tmp_path / "run")
    Bundle.open(result.branches.values(), device="cpu").predict(["a good film"])
    after = torch.get_rng_state(), np.random.get_state()[1], random.getstate()
    assert torch.equal(before[0], after[0]) and (before[1] == after[1]).all() and before[2] == after[2]
