"""Contributions of layers and tokens: against a closed form where the head is linear, and sums that have to come out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from trunkline.branches import LayerState, Output, TrunkShape
from trunkline.branches.adalayers import AdaLayers, AdaLayersConfig
from trunkline.branches.head_stack import HeadStack
from trunkline.branches.sum_contributions import sum_contributions
from trunkline.inputs.batching import Layout

TRUNK, LENGTHS = TrunkShape(3, 12), [5, 1, 3]


def branch(seed=0, **keys):
    torch.manual_seed(seed)
    made = AdaLayers(AdaLayersConfig(dim=8, heads=2, alpha=1.0, **keys), TRUNK, Output("text", 4)).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    made.standardise({layer: (torch.randn(12), torch.rand(12) + 0.5) for layer in range(4)} if made.path is not None else {})
    return made


def states(seed=1):
    drawn = torch.Generator().manual_seed(seed)
    return {layer: torch.randn(sum(LENGTHS), 12, generator=drawn) for layer in range(4)}


def logits(made, given, layout):
    carry = None
    for layer in made.wanted():
        carry = made.read(carry, layer, LayerState(given[layer], layout))
    return made.finish(carry, layout)


@pytest.mark.parametrize("head", ["attention", "linear", "encoder"])
@pytest.mark.parametrize("linear", [True, False])
def test_they_add_up_to_the_logits_less_those_without_features(head, linear):
    made, given, layout = branch(head=head, linear=linear, positions=head == "encoder"), states(), Layout(torch.tensor(LENGTHS))
    found = sum_contributions(made.layer_sum(), given, layout)
    assert found.shape == (9, 4, 4) and not found.requires_grad
    with torch.no_grad():
        empty = HeadStack([made.head], None)(torch.zeros(9, 1, 8), layout, [None])[0]
        expected = logits(made, given, layout) - empty
    sums = torch.stack([part.sum((0, 1)) for part in found.split(LENGTHS)])
    torch.testing.assert_close(sums, expected, rtol=2e-3, atol=2e-3)
    assert all(parameter.grad is None for parameter in made.parameters())


def test_a_layer_that_is_cut_off_has_none_and_a_text_has_those_that_it_has_alone():
    made, given = branch(cutoff=0.3), states()
    with torch.no_grad():
        made.p.copy_(torch.tensor([3.0, 0.0, 3.0, 0.0]))
    assert made.wanted() == (0, 2)
    found = sum_contributions(made.layer_sum(), given, Layout(torch.tensor(LENGTHS)))
    assert found.shape == (9, 2, 4)
    alone = {layer: rows[6:] for layer, rows in given.items()}
    torch.testing.assert_close(sum_contributions(made.layer_sum(), alone, Layout(torch.tensor([3]))), found[6:])


def test_of_the_linear_path_and_a_head_that_hardly_bends_they_are_a_closed_form():
    """GELU(x) is x / 2 near 0, so with small features the linear head is linear: w . t_i / (2 T)."""
    made, given = branch(head="linear"), states()
    layout = Layout(torch.tensor(LENGTHS))
    small = 1e-3
    with torch.no_grad():
        own = made.layer_sum()
        shares = {layer: share * small for layer, share in own.shares.items()}
        tiny = type(own)(own.activation, shares, own.projections, 0.0, own.head, own.path)
    found = sum_contributions(tiny, given, layout)
    with torch.no_grad():
        for row, length in zip(range(9), [5] * 5 + [1] + [3] * 3, strict=True):
            for place, layer in enumerate(shares):
                y = F.layer_norm(F.gelu(given[layer][row]) @ own.projections[layer].T, (8,))
                x = (given[layer][row] - own.path.mean[layer]) * own.path.scale[layer]
                expected = shares[layer] * (own.head.linear.weight @ y / 2 + own.path.weight @ x) / length
                torch.testing.assert_close(found[row, place], expected, rtol=5e-3, atol=1e-6)
