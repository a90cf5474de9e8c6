"""A checkpoint changed in any way is refused in one sentence, or resumes what was saved."""

from __future__ import annotations

import importlib.util
import itertools
import json
from pathlib import Path

import pytest
import torch
from mutations import each, json_changes, place_changes, weights_changes

from trunkline.errors import BadInput
from trunkline.training.checkpoint import load_checkpoint, save_checkpoint
from trunkline.training.config import resolve
from trunkline.training.run import Run, quiet

SAVED = Path(__file__).parents[1] / "saved"
_spec = importlib.util.spec_from_file_location("saved_make", SAVED / "make.py")
make = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make)


@pytest.fixture(scope="module")
def learners():
    return Run(resolve(make.config(SAVED / "trunk", SAVED / "rows.jsonl", "positions", linear=False)), quiet).first[0]


def resumed(path: Path, identity: str, learners) -> tuple:
    """All that training goes on from."""
    position, cost = load_checkpoint(path, identity, learners)
    [learner] = learners.values()
    weights = [*learner.weights().values(), *learner.best.values()]
    for moments in learner.optimizer.state_dict()["state"].values():
        weights += moments.values()
    return position, cost, learner.progress, [value.tolist() for value in weights], [value.dtype for value in weights]


@pytest.mark.parametrize("version", [1, 2])
def test_a_checkpoint_that_was_changed_is_refused_or_resumes_the_same(version, learners, tmp_path):
    saved = SAVED / "interrupted" / "checkpoint"
    identity = json.loads((saved / "state.json").read_text())["identity"]
    expected = resumed(saved, identity, learners)
    if version == 2:
        saved = tmp_path / "saved"
        save_checkpoint(saved, identity, learners, *expected[:2])
        assert resumed(saved, identity, learners) == expected
    state = json.loads((saved / "state.json").read_text())
    assert state["version"] == version
    changes = itertools.chain(
        json_changes("state.json", state),
        weights_changes("tensors.safetensors", saved),
        place_changes("state.json"),
        place_changes("tensors.safetensors"),
    )
    wrong, refused = [], 0
    for change, folder in each(saved, tmp_path, changes):
        try:
            found = resumed(folder, identity, learners)
            if version == 2 and found != expected:
                wrong.append(f"{change}: resumes something else")
        except BadInput as error:
            refused += 1
            if "\n" in str(error) or "\x1b" in str(error):
                wrong.append(f"{change}: {error}")
        except Exception as error:
            wrong.append(f"{change}: {type(error).__name__}: {error}")
    assert not wrong, f"{len(wrong)} of {refused}: " + "\n".join(wrong[:40])
    assert refused > 100


def test_no_dtype_is_converted_in_silence(learners, tmp_path):
    """Digests apart: of a checkpoint of version 1 too."""
    saved = SAVED / "interrupted" / "checkpoint"
    identity = json.loads((saved / "state.json").read_text())["identity"]
    for change, folder in each(saved, tmp_path, weights_changes("tensors.safetensors", saved)):
        if change.endswith((" half", " double", " whole")):
            with pytest.raises(BadInput, match="has another shape or dtype"):
                load_checkpoint(folder, identity, learners)
    assert torch.get_default_dtype() is torch.float32
