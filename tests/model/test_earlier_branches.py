"""Branches saved with schema 1 (of commit e8ad30c, in schema_1/, with what they answered) load, and answer the same."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from trunkline.branches import LayerState, methods
from trunkline.inputs.batching import Layout
from trunkline.model.branch import load_branch, save_branch

SAVED = Path(__file__).parent / "schema_1"


def answer(branch, answers):
    carry = None
    for layer in branch.module.wanted():
        carry = branch.module.read(carry, layer, LayerState(answers["states"][layer]))
    return branch.module.finish(carry, Layout(answers["lengths"])).detach()


@pytest.mark.parametrize("name", ["cola", "slots", "one"])
def test_a_branch_of_schema_1_answers_as_it_did(name, tmp_path):
    """`cola` adds positions, before the activation; `slots` and `one` have encoder heads with ReLU."""
    answers = load_file(SAVED / "answers.safetensors")
    branch = load_branch(SAVED / name)
    torch.testing.assert_close(answer(branch, answers), answers[name], rtol=1e-5, atol=1e-6)
    save_branch(branch, tmp_path / "again")
    torch.testing.assert_close(answer(load_branch(tmp_path / "again"), answers), answers[name], rtol=1e-5, atol=1e-6)
    assert json.loads((tmp_path / "again" / "branch.json").read_text())["method"]["positions_first"] is True


def test_what_a_branch_says_of_its_arithmetic_is_kept(tmp_path):
    """Keys that are there are never set anew."""
    shutil.copytree(SAVED / "cola", tmp_path / "cola")
    file = tmp_path / "cola" / "branch.json"
    described = json.loads(file.read_text())
    described["method"]["positions_first"] = False
    file.write_text(json.dumps(described))
    answers = load_file(SAVED / "answers.safetensors")
    assert not torch.allclose(answer(load_branch(tmp_path / "cola"), answers), answers["cola"], atol=1e-3)


@pytest.mark.parametrize("head", ["plain", "adalayers", {"name": "adalayers", "dim": 8}, {"name": "probe"}])
def test_the_head_of_a_tuner_is_upgraded_with_it(head):
    config = methods.get("lora").Config
    found = config.upgrade({"name": "lora", "head": head}, 1)["head"]
    name = head if isinstance(head, str) else head["name"]
    if name == "adalayers":
        assert found["positions_first"] is True and found["feed_forward_activation"] == "relu" and found["name"] == "adalayers"
    else:
        assert found == head
    later = config.upgrade({"name": "lora", "head": head}, 2)["head"]
    assert later == (
        {"name": "adalayers", "linear": False} | (head if isinstance(head, dict) else {}) if name == "adalayers" else head
    )


@pytest.mark.parametrize("name", ["adalayers", "single_layer"])
def test_a_branch_from_before_the_linear_path_has_none(name):
    upgrade = methods.get(name).Config.upgrade
    for schema in (1, 2):
        assert upgrade({"name": name}, schema)["linear"] is False
        assert upgrade({"name": name, "linear": True}, schema)["linear"] is True
