"""What earlier versions have saved (make.py tells which and how) loads and answers the same."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from trunkline.events import quiet
from trunkline.model.arguments import asked
from trunkline.model.branch import load_branch
from trunkline.model.bundle import Bundle
from trunkline.model.portions import answered, portion
from trunkline.states.live import LiveStates
from trunkline.states.store import StatesStore
from trunkline.training.checkpoint import load_checkpoint
from trunkline.training.config import resolve
from trunkline.training.result import read_result
from trunkline.training.run import Run
from trunkline.trunk.load import load_trunk
from trunkline.tuners.adapters.files import read_adapter, read_fusion

SAVED = Path(__file__).parent
TRUNK = str(SAVED / "trunk")
ANSWERS = json.loads((SAVED / "answers.json").read_text(encoding="utf-8"))
NEAR = 1e-5

_spec = importlib.util.spec_from_file_location("saved_make", SAVED / "make.py")
make = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make)


def near(found: object, expected: object) -> bool:
    """Whether two JSON-able values are equal, numbers but for rounding."""
    if isinstance(expected, dict):
        return (
            isinstance(found, dict) and found.keys() == expected.keys() and all(near(found[k], expected[k]) for k in expected)
        )
    if isinstance(expected, list):
        return isinstance(found, list) and len(found) == len(expected) and all(map(near, found, expected))
    return found == (pytest.approx(expected, abs=NEAR) if isinstance(expected, float) else expected)


@pytest.fixture(scope="module")
def trunk():
    return load_trunk(TRUNK, dtype="fp32", device="cpu")


def test_answers_are_kept_for_every_branch():
    assert set(ANSWERS) == {
        str(path.parent.relative_to(SAVED / "runs")) for path in SAVED.glob("runs/*/branches/*/branch.json")
    }


@pytest.mark.parametrize("name", ANSWERS)
def test_a_saved_branch_answers_as_it_did(name, trunk):
    bundle = Bundle.open(SAVED / "runs" / name, trunk=trunk)
    pairs = make.TEXTS[::-1] if name.startswith("pairs/") else None
    predictions = [row[Path(name).name] for row in bundle.predict(make.TEXTS, pairs, empty_texts="read")]
    given = asked(make.TEXTS, pairs, None, bundle._plan.check_pairs, "read")
    [one] = answered(bundle._plan, portion(bundle._plan, given, range(len(make.TEXTS)))).values()
    # The products of a branch in bf16 depend on the processor.
    tolerance = 0.05 if name.startswith("bf16/") else NEAR
    assert np.abs(one.logits - np.array(ANSWERS[name]["logits"])).max() < tolerance
    if tolerance == NEAR:
        assert near(predictions, ANSWERS[name]["predictions"])


@pytest.mark.parametrize("run", make.RUNS)
def test_a_saved_run_is_read(run):
    summary = read_result(SAVED / "runs" / run)
    assert set(summary["tasks"]) == set(make.RUNS[run][1])
    bundle = Bundle.open(SAVED / "runs" / run, trunk=TRUNK, device="cpu")
    assert set(bundle.branches) == set(make.RUNS[run][1])


@pytest.mark.parametrize("path", sorted((SAVED / "states").iterdir()), ids=lambda path: path.name[:8])
def test_a_saved_states_store_holds_what_the_trunk_computes(path, trunk):
    store = StatesStore.open(path, trunk=trunk)
    store.verify()
    texts = [json.loads(line)["text"] for line in (SAVED / "rows.jsonl").read_text().splitlines()]
    encoded = trunk.encode(texts, max_length=trunk.max_length)
    assert store.layers == (0, 1, 2) and store.dtype == "bf16" and 0 < len(store.lengths) < len(texts)
    of_length = {int(n): np.flatnonzero(encoded.lengths == n) for n in store.lengths}
    read, live = {}, {}
    store.feed(np.arange(len(store.lengths)), store.layers, lambda layer, rows: read.update({layer: rows.float()}))
    LiveStates(trunk, encoded).feed(np.arange(len(texts)), store.layers, lambda layer, rows: live.update({layer: rows.float()}))
    starts = np.cumsum(encoded.lengths) - encoded.lengths
    start = 0
    for length in store.lengths:  # each of its sequences is one of the corpus's
        own = torch.stack([read[layer][start : start + length] for layer in store.layers])
        near_ones = [
            torch.stack([live[layer][starts[s] : starts[s] + length] for layer in store.layers]) for s in of_length[int(length)]
        ]
        assert any(torch.allclose(own, other, atol=0.03) for other in near_ones)
        start += length


def test_a_saved_checkpoint_is_read():
    state = json.loads((SAVED / "interrupted" / "checkpoint" / "state.json").read_text())
    run = Run(resolve(make.config(TRUNK, SAVED / "rows.jsonl", "positions", linear=False)), quiet)
    learners, _ = run.first
    position, cost = load_checkpoint(SAVED / "interrupted" / "checkpoint", state["identity"], learners)
    assert (position.step, position.history) == (state["position"]["step"], state["position"]["history"]) and position.step > 0
    tensors = load_file(SAVED / "interrupted" / "checkpoint" / "tensors.safetensors")
    weights = learners["mood"].weights()
    assert all(torch.equal(weights[name], tensors[f"mood/now/{name}"]) for name in weights)
    assert cost.trained_parameters == state["cost"]["trained_parameters"]


def test_saved_folders_of_adapters_are_read(trunk):
    adapter = load_branch(SAVED / "runs" / "houlsby" / "branches" / "stars", trunk)
    tuner = adapter.source.tuner
    expected = tuner.parts("stars")[""]
    found = read_adapter(SAVED / "folders" / "houlsby", tuner.home)
    assert (found.name, found.spec) == ("stars", expected.spec) and found.weights.keys() == expected.weights.keys()
    assert all(torch.equal(found.weights[name], expected.weights[name]) for name in expected.weights)
    fusion = load_branch(SAVED / "runs" / "fusion" / "branches" / "mood", trunk)
    tuner = fusion.source.tuner
    for inner, expected in tuner.parts().items():
        read = read_fusion if inner == "fusion" else read_adapter
        found = read(SAVED / "folders" / "fusion" / inner, tuner.home)
        assert found.weights.keys() == expected.weights.keys()
        assert all(torch.equal(found.weights[name], expected.weights[name]) for name in expected.weights)
