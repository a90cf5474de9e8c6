"""LoRA: the documents' counts, the formula, and merging, on trunks of every architecture."""

from __future__ import annotations

import math

import pytest
import torch
from peft.tuners.lora import LoraLayer
from tiny_zoo import MODELS
from transformers import BertConfig, BertModel
from tunertools import apply, frozen, ids, randomise, states, trained

from trunkline.branches.fold import Output
from trunkline.errors import BadInput
from trunkline.inputs.batching import Layout
from trunkline.trunk.architectures import find_taps
from trunkline.trunk.load import load_trunk
from trunkline.tuners.lora import Lora, LoraConfig
from trunkline.tuners.plain import PlainHead
from trunkline.tuners.tuned import TunedTrunk


@pytest.mark.parametrize("r", [2, 8, 32])
def test_the_documents_counts(r):
    config = BertConfig(vocab_size=100)  # BERT-base in all but its vocabulary
    with torch.device("meta"):
        model = BertModel(config).requires_grad_(False)

    def count(targets: str) -> int:
        return sum(p.numel() for p in trained(apply(model, "lora", targets=targets, r=r)[1]).values())

    head = sum(p.numel() for p in PlainHead(config, Output("text", 6)).parameters() if p.requires_grad)
    assert (count("qv"), count("linear"), head) == (36_864 * r, 167_424 * r, 4_614)
    assert count("qkv") == 3 * 18_432 * r
    assert count("attention") == 4 * 18_432 * r


@pytest.mark.parametrize("name", MODELS)
def test_every_architecture_learns_and_merges(name):
    model = frozen(name)
    before, held = states(model), {key: value.clone() for key, value in model.state_dict().items()}
    tuner, changed = apply(model, "lora", targets="linear", r=4, alpha=8)
    assert torch.equal(states(changed), before)  # B is 0 at first
    assert {name.split(".")[-3] for name in trained(changed)} == {"lora_A", "lora_B"}
    changed(input_ids=ids()).last_hidden_state.square().sum().backward()
    block = find_taps(changed).blocks[0]
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in block.parameters() if p.requires_grad)
    randomise(changed)
    learned = states(changed)
    assert not torch.allclose(learned, before, atol=1e-3)
    merged = tuner.merge(changed)
    assert not any(isinstance(module, LoraLayer) for module in merged.modules())
    torch.testing.assert_close(states(merged), learned, rtol=1e-5, atol=1e-5)
    assert not any(p.requires_grad for p in merged.parameters())
    for key, value in model.state_dict().items():  # the trunk's own tensors are as they were
        assert torch.equal(value, held[key])


@pytest.mark.parametrize(("rslora", "scale"), [(False, 16 / 4), (True, 16 / math.sqrt(4))])
def test_a_layer_computes_the_formula(rslora, scale):
    model = frozen("bert")
    _, changed = apply(model, "lora", targets=["encoder.layer.0.attention.self.query"], r=4, alpha=16, rslora=rslora)
    randomise(changed)
    layer, x = changed.encoder.layer[0].attention.self.query, torch.randn(5, 32)
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    expected = model.encoder.layer[0].attention.self.query(x) + scale * x @ a.T @ b.T
    torch.testing.assert_close(layer(x), expected)


def test_dora_merges_too():
    model = frozen("bert")
    tuner, changed = apply(model, "lora", targets="qkv", dora=True)
    randomise(changed)
    learned = states(changed)
    torch.testing.assert_close(states(tuner.merge(changed)), learned, rtol=1e-5, atol=1e-5)


def test_biases_are_trained_as_asked():
    model = frozen("bert")

    def biases(bias: str) -> set[str]:
        _, changed = apply(model, "lora", targets="qv", bias=bias)
        return {name for name in trained(changed) if name.endswith(".bias")}

    assert biases("none") == set()
    assert len(biases("lora_only")) == 2 * 3
    assert len(biases("all")) == sum(name.endswith(".bias") for name, _ in model.named_parameters())


def test_the_pooler_is_a_target_and_the_head_calls_it(zoo, tmp_path):
    trunk = load_trunk(zoo("bert"), dtype="fp32", device="cpu")
    head = PlainHead(trunk.model.config, Output("text", 3), trunk.folder)
    tuned = TunedTrunk(trunk, Lora(LoraConfig(targets="linear", r=2)), "fp32", head.pooler)
    head.bind(tuned.model)
    pooled = [name for name, p in tuned.own().items() if p.requires_grad and name.startswith("pooler.")]
    assert len(pooled) == 2
    randomise(tuned.model)
    rows = torch.randn(4, 32)
    tuned.eval()
    head.eval()
    layer = tuned.model.pooler.dense
    dense = layer.base_layer(rows[:1]) + 16 / 2 * rows[:1] @ layer.lora_A["default"].weight.T @ layer.lora_B["default"].weight.T
    torch.testing.assert_close(head.finish(rows, Layout(torch.tensor([4]))), head.model.classifier(dense.tanh()))


@pytest.mark.parametrize(
    ("config", "message"),
    [({"targets": "qury"}, "did you mean 'query'"), ({"targets": ["LayerNorm"]}, "is a LayerNorm, expected a Linear")],
)
def test_bad_targets_are_refused(config, message):
    with pytest.raises(BadInput, match=message):
        apply(frozen("bert"), "lora", **config)
