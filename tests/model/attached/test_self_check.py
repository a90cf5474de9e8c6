"""Attachment.check: it passes on models of the zoo, and sees a model that is disturbed."""

from __future__ import annotations

import re

import attach_architectures
import pytest
import torch
from attachtools import branches_of, inputs_for, users_model
from bundletools import make

import trunkline
from trunkline.errors import BadInput
from trunkline.model.attached.checks import WAYS
from trunkline.trunk.architectures import ARCHITECTURES
from trunkline.trunk.stream import _LISTENERS, read_layers


def test_a_model_that_generates_is_checked_in_every_way(zoo, trunk_of):
    branches = branches_of(trunk_of("gpt2-left"), kinds=("sequence", "token"))
    found = trunkline.attach(users_model(zoo, "gpt2-left"), branches).check()
    assert found.passed and found.states == {"encoder": True} and found.generation == dict.fromkeys(WAYS, True)
    assert str(found).startswith("GPT2LMHeadModel: layer states, outputs, answers, greedy, beam, sampling, static cache are")


def test_both_stacks_and_a_batch_of_ones_own(zoo, trunk_of):
    branches = {stack: make(trunk_of("bart", stack), "sequence") for stack in ("encoder", "decoder")}
    attachment = trunkline.attach(users_model(zoo, "bart"), branches)
    inputs = {**inputs_for("bart"), "decoder_input_ids": torch.tensor([[2, 5, 6]] * 4)}
    found = attachment.check(inputs)
    assert found.passed and found.states == {"encoder": True, "decoder": True}


def test_a_model_that_does_not_generate(zoo, trunk_of):
    found = trunkline.attach(users_model(zoo, "bert"), make(trunk_of("bert"), "token")).check()
    assert found.passed and found.generation == dict.fromkeys(WAYS)


def test_it_draws_as_if_it_had_not_been(zoo, trunk_of):
    attachment = trunkline.attach(users_model(zoo, "gpt2"), make(trunk_of("gpt2"), "sequence"))
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    attachment.check()
    assert torch.equal(torch.rand(2), expected)


def test_it_sees_outputs_that_change(zoo, trunk_of):
    model = users_model(zoo, "bert")
    model.classifier.register_forward_hook(lambda module, args, output: output + 1e-6 if _LISTENERS.get() else None)
    found = trunkline.attach(model, make(trunk_of("bert"), "sequence")).check()
    assert not found.passed and not found.outputs and str(found) == "BertForSequenceClassification: outputs differ"


def test_it_sees_states_that_are_others(zoo, trunk_of, monkeypatch):
    def others(model, layers, receive, *, stack):
        return read_layers(model, layers, lambda layer, state: receive(layer, state + (layer == 2) * 1e-6), stack=stack)

    monkeypatch.setattr("trunkline.model.attached.checks.read_layers", others)
    found = trunkline.attach(users_model(zoo, "bert"), make(trunk_of("bert"), "sequence")).check()
    assert not found.passed and found.outputs and found.states == {"encoder": False}


@pytest.mark.filterwarnings("ignore:no pass:UserWarning")
def test_where_it_cannot_be_made(zoo, trunk_of):
    model = users_model(zoo, "bert")
    attachment = trunkline.attach(model, make(trunk_of("bert"), "sequence"))
    with attachment, pytest.raises(BadInput, match="expected the call before it"):
        attachment.check()
    model.train()
    with pytest.raises(BadInput, match=r"after model\.eval\(\)"):
        attachment.check()


def table_of_the_page() -> str:
    page = attach_architectures.PAGE.read_text(encoding="utf-8")
    return page.split(attach_architectures.BEGIN)[1].split(attach_architectures.END)[0].strip()


def test_the_page_has_every_architecture_and_none_that_fails():
    found = table_of_the_page()
    assert all(re.search(f"^\\| `{name}(, [a-z ]+)?` \\|", found, re.MULTILINE) for name in ARCHITECTURES)
    assert "**no**" not in found


@pytest.mark.slow
def test_the_page_says_what_the_check_finds():
    assert attach_architectures.table(list(attach_architectures.rows())) == table_of_the_page()
