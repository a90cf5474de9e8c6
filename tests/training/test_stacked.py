"""Runs trained together against the same runs trained alone."""

from __future__ import annotations

import os
import signal

import pytest
import torch
from safetensors.torch import load_file
from synthetic import config, write_rows

from trunkline import fit
from trunkline.errors import TrunklineError
from trunkline.events import BatchEnded, Publisher, quiet
from trunkline.training.config import resolve
from trunkline.training.resumable import Interrupted
from trunkline.training.stacked import fit_stacked, stack_key

METHODS = {
    "adalayers": {"name": "adalayers", "dim": 16, "heads": 2, "dropout": 0.0},
    "wider": {"name": "adalayers", "dim": 24, "heads": 2, "dropout": 0.0},
    "layer": {"name": "single_layer", "layer": 2, "dim": 16, "heads": 2, "dropout": 0.0},
    "probe": {"name": "probe"},
    "scalar_mix": {"name": "scalar_mix", "dropout": 0.0},
    "head2toe": {"name": "head2toe"},
    "routing": {"name": "routing"},
    "ladder": {"name": "ladder", "dropout": 0.0},
    "variability": {"name": "variability", "dim": 16, "heads": 2, "dropout": 0.0},
}


def planned(trunk, rows, **training):
    """By name, configs that can be stacked: every method, and AdaLayers with other hyperparameters and another seed."""
    values = config(trunk, rows, epochs=1, precision="fp32", states_dtype="fp32", data_seed=3, **training)
    values["trunk"] = {"name": str(trunk), "dtype": "fp32"}
    found = {name: resolve({**values, "method": method}) for name, method in METHODS.items()}
    other = {
        **values["training"],
        "seed": 7,
        "learning_rate": 1e-2,
        "clip_norm": 0.1,
        "weight_decay": 0.1,
        "schedule": "linear",
    }
    return found | {"other": resolve({**values, "method": METHODS["adalayers"], "training": other})}


def weights(result):
    """Of every task, without the bias of attention's keys, which changes no answer: rounding alone moves it."""
    found = {}
    for task, folder in result.branches.items():
        for name, value in load_file(folder / "weights.safetensors").items():
            if name.endswith("in_proj_bias"):
                value = torch.cat([value.chunk(3)[0], value.chunk(3)[2]])
            found[f"{task}/{name}"] = value
    return found


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", 200)


@pytest.fixture(scope="module")
def stacked(tiny_trunk_dir, rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stack")
    configs = planned(tiny_trunk_dir, rows)
    return fit_stacked(configs, {name: folder / name for name in configs}, folder / "checkpoint", quiet)


@pytest.mark.parametrize("name", [*METHODS, "other"])
def test_a_run_of_a_stack_equals_the_same_run_alone(name, stacked, tiny_trunk_dir, rows, tmp_path):
    alone = fit(planned(tiny_trunk_dir, rows)[name], run_dir=tmp_path / "alone", progress=False)
    torch.testing.assert_close(weights(stacked[name]), weights(alone), rtol=1e-5, atol=1e-5)
    own = stacked[name].summary
    assert own["identity"] == alone.summary["identity"]
    assert own.keys() == alone.summary.keys()
    for task, found in alone.tasks.items():
        assert own["tasks"][task].keys() == found.keys()
        assert own["tasks"][task]["test"].keys() == found["test"].keys()
        assert own["tasks"][task]["test"]["loss"] == pytest.approx(found["test"]["loss"], rel=1e-4)
        assert own["tasks"][task]["layers"] == pytest.approx(found["layers"], abs=1e-5)
        assert own["cost"]["steps_to_best"] == alone.cost["steps_to_best"]
    assert own["cost"]["stacked"] == len(METHODS) + 1
    assert alone.cost["stacked"] == alone.cost["share"] == 1


def test_the_time_of_a_stack_is_divided_by_what_steps_cost(stacked):
    shares = {name: one.summary["cost"]["share"] for name, one in stacked.items()}
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["probe"] < shares["layer"] < shares["adalayers"] < shares["routing"]
    assert shares["other"] == shares["adalayers"]  # another rate and another seed cost the same


def test_finished_runs_are_found_again_by_fit(stacked, tiny_trunk_dir, rows):
    again = fit(planned(tiny_trunk_dir, rows)["probe"], run_dir=stacked["probe"].path, progress=False)
    assert again.summary["tasks"] == stacked["probe"].summary["tasks"]


def test_a_run_that_fails_leaves_the_others_as_they_are(stacked, tiny_trunk_dir, rows, tmp_path):
    configs = planned(tiny_trunk_dir, rows)
    names = ("adalayers", "other", "layer")
    broken = configs["adalayers"].model_copy(deep=True)
    broken.training.learning_rate, broken.training.clip_norm = 1e30, None
    given = {name: configs[name] for name in names} | {"broken": broken}
    found = fit_stacked(given, {name: tmp_path / name for name in given}, tmp_path / "checkpoint", quiet)
    assert isinstance(found["broken"], TrunklineError)
    assert str(found["broken"]).startswith("the loss of task ") and "broken" not in str(found["broken"])
    assert not (tmp_path / "broken" / "result.json").exists()
    for name in names:
        torch.testing.assert_close(weights(found[name]), weights(stacked[name]), rtol=1e-5, atol=1e-5)


def stopped_at(batch, trunk, rows, folder):
    """Train a stack until a batch, in a process of its own, as it asks itself to stop."""

    def see(event):
        if isinstance(event, BatchEnded) and event.batch == batch:
            os.kill(os.getpid(), signal.SIGTERM)

    configs = planned(trunk, rows)
    with pytest.raises(Interrupted):
        fit_stacked(configs, {name: folder / name for name in configs}, folder / "checkpoint", Publisher([see]))


def test_a_stack_that_is_stopped_resumes_to_the_same_bits(stacked, processes, tiny_trunk_dir, rows, tmp_path):
    configs = planned(tiny_trunk_dir, rows)
    places = {name: tmp_path / name for name in configs}
    for batch in (1, 3):
        one = processes.Process(target=stopped_at, args=(batch, tiny_trunk_dir, rows, tmp_path))
        one.start()
        one.join(120)
        assert one.exitcode == 0
    assert (tmp_path / "checkpoint").exists()
    seen = []
    found = fit_stacked(configs, places, tmp_path / "checkpoint", seen.append)
    assert next(event.batch for event in seen if isinstance(event, BatchEnded)) > 3
    assert not (tmp_path / "checkpoint").exists()
    for name, one in found.items():
        ours, theirs = (load_file(result.branches["mood"] / "weights.safetensors") for result in (one, stacked[name]))
        assert all(torch.equal(value, theirs[key]) for key, value in ours.items()), name


def test_what_cannot_be_stacked(tiny_trunk_dir, rows):
    values = config(tiny_trunk_dir, rows)
    assert stack_key(resolve({**values, "method": "lora"})) is None
    key = stack_key(resolve(values))
    assert key is not None
    assert stack_key(resolve({**values, "training": {**values["training"], "seed": 1}})) != key  # another order of batches
    assert stack_key(resolve({**values, "training": {**values["training"], "data_seed": 3, "seed": 1}})) == key
    assert stack_key(resolve({**values, "training": {**values["training"], "epochs": 7}})) != key
    assert stack_key(resolve({**values, "method": {"dim": 24}})) == key
    drawn = {**values, "data": {**values["data"], "rows": 50}, "training": {**values["training"], "data_seed": 3}}
    other = {**drawn, "training": {**drawn["training"], "seed": 1}}  # other rows
    assert stack_key(resolve(drawn)) != stack_key(resolve(other))
