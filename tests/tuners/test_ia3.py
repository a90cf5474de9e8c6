"""IA3 on every architecture: it starts as the trunk, multiplies what it says, and merges."""

from __future__ import annotations

import pytest
import torch
from peft.tuners.ia3 import IA3Layer
from tiny_zoo import MODELS
from tunertools import apply, frozen, ids, randomise, states, trained


@pytest.mark.parametrize("name", MODELS)
def test_every_architecture_learns_and_merges(name):
    model = frozen(name)
    before, held = states(model), {key: value.clone() for key, value in model.state_dict().items()}
    tuner, changed = apply(model, "ia3")
    torch.testing.assert_close(states(changed), before)
    changed(input_ids=ids()).last_hidden_state.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained(changed).values())
    randomise(changed)
    learned = states(changed)
    assert not torch.allclose(learned, before, atol=1e-3)
    merged = tuner.merge(changed)
    assert not any(isinstance(module, IA3Layer) for module in merged.modules())
    torch.testing.assert_close(states(merged), learned, rtol=1e-5, atol=1e-5)
    for key, value in model.state_dict().items():
        assert torch.equal(value, held[key])


def test_keys_values_and_inner_units_are_multiplied():
    model = frozen("bert")
    _, changed = apply(model, "ia3")
    assert sum(p.numel() for p in trained(changed).values()) == 3 * (32 + 32 + 48)  # as in the paper: l_k, l_v, l_ff per block
    randomise(changed)
    block, original, x = changed.encoder.layer[1], model.encoder.layer[1], torch.randn(5, 32)
    for part in ("key", "value"):
        layer = getattr(block.attention.self, part)
        scale = layer.ia3_l["default"].flatten()
        torch.testing.assert_close(layer(x), scale * getattr(original.attention.self, part)(x))
    inner = torch.randn(5, 48)
    scale = block.output.dense.ia3_l["default"].flatten()
    torch.testing.assert_close(block.output.dense(inner), original.output.dense(scale * inner))
    torch.testing.assert_close(block.attention.output.dense(x), original.attention.output.dense(x))
