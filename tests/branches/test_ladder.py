"""Ladder side-tuning against its published code (github.com/ylsung/Ladder-Side-Tuning), re-derived with BART's layers.

There the side blocks of an encoder are BART's encoder layers of less width, and a text is answered for by BART's
classification head; texts are padded.
"""

import gc

import pytest
import torch
from riding import LAYOUT, TRUNK, make, ride, ride_group, states_of
from torch import nn
from transformers.models.bart.modeling_bart import BartClassificationHead, BartConfig, BartEncoderLayer

from trunkline.branches import BranchGroup, TrunkShape
from trunkline.errors import BadInput

LADDER = {"reduction": 4, "heads": 2}  # 8 wide on a trunk of 32
NAMES = {"self_attn_layer_norm": "norm1", "fc1": "linear1", "fc2": "linear2", "final_layer_norm": "norm2"}


def bart_layer(block, width, heads):
    """BART's encoder layer with the weights of a side block."""
    config = BartConfig(
        d_model=width, encoder_ffn_dim=4 * width, encoder_attention_heads=heads, dropout=0.0, attn_implementation="eager"
    )
    layer, own = BartEncoderLayer(config).eval(), block.layer.state_dict()
    weights = {}
    for kind in ("weight", "bias"):
        for name, part in zip("qkv", own[f"self_attn.in_proj_{kind}"].chunk(3), strict=True):
            weights[f"self_attn.{name}_proj.{kind}"] = part
        weights[f"self_attn.out_proj.{kind}"] = own[f"self_attn.out_proj.{kind}"]
        for there, here in NAMES.items():
            weights[f"{there}.{kind}"] = own[f"{here}.{kind}"]
    layer.load_state_dict(weights)
    return layer


def published(branch, states):
    """Logits: (B, C) for texts, (N, C) for words. A block that was dropped takes no part, nor does its layer."""
    width, heads = branch.up.in_features, branch.config.heads
    unseen = torch.zeros(LAYOUT.mask.shape).masked_fill(~LAYOUT.mask, torch.finfo(torch.float32).min)[:, None, None]
    down = {layer: branch.down[str(layer)] for layer in branch.layers}
    lowest, *others = branch.layers
    side = down[lowest](LAYOUT.pad(states[lowest]))
    for alpha, layer in zip(branch.gates, others, strict=True):
        gate = torch.sigmoid(alpha / 0.1)
        side = gate * side + (1 - gate) * down[layer](LAYOUT.pad(states[layer]))
        side = bart_layer(branch.blocks[str(layer)], width, heads)(side, unseen)
    up = branch.up(side)
    if branch.output.level == "unit":
        return branch.head.linear(LAYOUT.unpad(up))
    head = BartClassificationHead(32, 32, branch.output.size, 0.0)
    head.dense.load_state_dict(branch.between.state_dict())
    head.out_proj.load_state_dict(branch.head.linear.state_dict())
    last = LAYOUT.lengths - 1
    mean = torch.stack([one[:length].mean(0) for one, length in zip(up, LAYOUT.lengths, strict=True)])
    return head(up[torch.arange(len(up)), last] if branch.config.pooling == "last" else mean)


@torch.no_grad()
@pytest.mark.parametrize("layers", [None, [0, 2, 5, 6], "3-"])
@pytest.mark.parametrize(("level", "pooling"), [("text", "last"), ("text", None), ("unit", None)])
def test_the_same_weights_give_the_same_numbers(level, pooling, layers):
    torch.manual_seed(2)
    branch = make("ladder", level, layers=layers, pooling=pooling, **LADDER)
    for parameter in branch.parameters():
        nn.init.normal_(parameter, std=0.3)
    states = states_of()
    expected = published(branch, states)
    torch.testing.assert_close(ride(branch, states), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ride_group(BranchGroup({"a": branch}), states)["a"], expected, rtol=1e-5, atol=1e-5)


def test_gates_start_half_open_and_the_shares_are_what_they_leave():
    branch = make("ladder", layers=[0, 3, 6], **LADDER)
    assert branch.layer_weights() == pytest.approx({0: 0.25, 3: 0.25, 6: 0.5})
    with torch.no_grad():
        branch.gates.copy_(torch.tensor([0.1 * torch.tensor(4.0).log(), -0.1 * torch.tensor(9.0).log()]))  # 4/5 and 1/10
    assert branch.layer_weights() == pytest.approx({0: 0.08, 3: 0.02, 6: 0.9})
    assert branch.gates.ndim == 1, "alpha gets no weight decay"


@pytest.mark.parametrize("hidden, heads, width", [(384, 6, 48), (768, 12, 96), (1024, 16, 128), (32, 1, 4), (100, 1, 12)])
def test_the_side_network_has_the_heads_of_the_trunk_and_an_eighth_of_its_width(hidden, heads, width):
    branch = make("ladder", trunk=TrunkShape(2, hidden))
    assert branch.blocks["1"].heads == heads and branch.up.in_features == width
    assert branch.blocks["1"].layer.linear1.out_features == 4 * width
    block = 4 * width**2 + 4 * width + 8 * width**2 + 5 * width + 4 * width  # attention, feed-forward maps, two norms
    maps = 3 * (hidden * width + width) + hidden * width + hidden + hidden**2 + hidden + 3 * hidden + 3
    assert sum(p.numel() for p in branch.parameters()) == maps + 2 * block + 2


def test_it_learns_without_a_gradient_in_the_trunk_and_drops_in_training_only():
    torch.manual_seed(0)
    branch, states = make("ladder", dropout=0.4, **LADDER), states_of()
    assert torch.equal(ride(branch, states), ride(branch, states))
    assert not torch.equal(ride(branch.train(), states), ride(branch, states))


def test_one_state_of_the_side_network_is_held():
    trunk = TrunkShape(24, TRUNK.hidden_size)
    group = BranchGroup({"a": make("ladder", trunk=trunk, **LADDER)})
    states, batch, held = states_of(trunk), group.start(LAYOUT), []
    shape = (len(LAYOUT.lengths), LAYOUT.longest, 8)
    gc.freeze()  # only what is made from here on is looked through: with all that other tests have loaded it takes long
    try:
        for layer in group.wanted():
            batch.read(layer, states[layer])
            gc.collect()
            held.append(sum(type(x) is torch.Tensor and x.shape == shape for x in gc.get_objects()))
    finally:
        gc.unfreeze()
    assert held == [1] * 25


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"layers": [3]}, r"^method\.layers: found one layer, expected at least two"),
        ({"reduction": 33}, r"^method\.reduction: found 33, expected at most the trunk's width, 32"),
        ({"heads": 3}, r"^method\.heads: found 3 heads, expected a divisor of the side network's width, 4"),
        ({"pooling": "token"}, r"^method\.pooling: found token, expected cls, mean or last"),
    ],
)
def test_what_does_not_fit_is_refused(config, said):
    with pytest.raises(BadInput, match=said):
        make("ladder", **config)


def test_layers_are_read_in_order():
    branch = make("ladder", **LADDER)
    with pytest.raises(ValueError, match="layer 0 is required but was not read before layer 1"):
        ride(branch, states_of(), layers=range(1, 7))
