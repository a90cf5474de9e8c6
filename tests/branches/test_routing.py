"""Routing against the arithmetic of its published code, re-derived text by text, in float64.

That is `EfficientVectorRouting` (github.com/glassroom/heinsen_routing) and the head and the contributions of
github.com/glassroom/heinsen_routing_2022_paper. A text is a sequence of all layers of its first token, then of its second one.
"""

import math

import pytest
import torch
from riding import LAYOUT, make, ride, ride_group, states_of

from trunkline.branches import BranchGroup, LayerState, TrunkShape
from trunkline.branches.routed import VectorRouting
from trunkline.inputs.batching import Layout

SMALL = {"vectors": 5, "dim": 6}


def normed(x):
    return x if x.shape[-1] == 1 else (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()


def published_routing(routing, x):
    """(I, d) to y (J, h) and phi (I, J), in loops over the outputs."""
    w = {name: value.double() for name, value in routing.state_dict().items()}
    count, outputs, scaled = len(x), routing.outputs, x / math.sqrt(len(x))
    active = torch.sigmoid((scaled * w["active"]).sum(-1) + w["active_bias"])
    if routing.varies:
        use, ignore = x @ w["use"].T + w["use_bias"], x @ w["ignore"].T + w["ignore_bias"]
    else:
        use, ignore = w["use"], w["ignore"]
    votes = torch.stack([(scaled * w["vote_out"][j]) @ w["vote"] + w["vote_bias"][j] for j in range(outputs)], 1)  # (I, J, h)
    shares = torch.full((count, outputs), 1 / outputs, dtype=torch.float64)
    for iteration in range(routing.iterations):
        if iteration:
            alike = torch.empty(count, outputs, dtype=torch.float64)
            for j in range(outputs):
                predicted = (normed(y)[j] @ w["guess"]) * w["guess_out"][j] + w["guess_bias"][j]  # noqa: F821
                alike[:, j] = torch.log(torch.sigmoid((x @ predicted) * w["alike"][:, j] + w["alike_bias"][:, j]))
            shares = alike.softmax(-1)
        used = active[:, None] * shares
        phi = use * used - ignore * (active[:, None] - used)
        y = torch.einsum("ij,ijh->jh", phi, votes)
    return normed(y), phi


def sequences(branch, states):
    """What is routed for each text, or for each word: (I, K) each."""
    rows = normed(states.double()) * branch.scale.double()[:, None] + branch.shift.double()[:, None]
    lengths = LAYOUT.lengths.tolist() if branch.output.level == "text" else [1] * LAYOUT.total
    return [part.transpose(0, 1).flatten(0, 1) for part in rows[list(branch.layers)].split(lengths, 1)]


def published(branch, states):
    logits, contributions = [], []
    for x in sequences(branch, states):
        product = None
        for routing in (branch.first, branch.second, branch.last):
            x, phi = published_routing(routing, x)
            product = phi if product is None else product @ phi
            product = product / (product.std() + 1e-5)
        logits.append(x[:, 0])
        contributions.append(product.unflatten(0, (-1, len(branch.layers))))
    return torch.stack(logits).float(), torch.cat(contributions).float()


def routing_branch(level, size=3, **config):
    """A branch, its weights that start at 0 or 1 moved off there."""
    torch.manual_seed(5)
    branch = make("routing", level, size, **config)
    with torch.no_grad():
        for parameter in branch.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return branch


@torch.no_grad()
@pytest.mark.parametrize("level", ["text", "unit"])
@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("config", [{}, {**SMALL, "iterations": 3}, {"vectors": 2, "dim": 32}])
def test_the_same_weights_give_the_same_numbers(level, size, config):
    branch, states = routing_branch(level, size, **config), states_of()
    logits, contributions = published(branch, states)
    torch.testing.assert_close(ride(branch, states), logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ride_group(BranchGroup({"a": branch}), states)["a"], logits, rtol=1e-5, atol=1e-5)
    carry = None
    for layer in branch.wanted():
        carry = branch.read(carry, layer, LayerState(states[layer], LAYOUT))
    torch.testing.assert_close(branch.contributions(carry, LAYOUT), contributions, rtol=1e-4, atol=1e-4)
    if level == "unit":
        rows = torch.tensor([14, 3])
        torch.testing.assert_close(branch.contributions(carry, LAYOUT, rows), contributions[rows], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_some_layers_are_a_shorter_sequence():
    branch, states = routing_branch("text", layers="2-4", **SMALL), states_of()
    lone = make("routing", "text", 3, TrunkShape(2, 32), **SMALL)
    lone.load_state_dict(branch.state_dict())
    torch.testing.assert_close(ride(branch, states), published(lone, states[2:5])[0], rtol=1e-5, atol=1e-5)


def test_first_weights_are_those_of_the_published_code():
    torch.manual_seed(0)
    varied, fixed = VectorRouting(None, 40, 64, 50, 2), VectorRouting(30, 40, 64, 50, 2)
    for routing in (varied, fixed):
        deviations = {"active": 2 / 8, "vote_out": 1, "vote": 2 / 8, "guess": 50**-0.5, "guess_out": 1, "alike": 1 / 8}
        for name, deviation in deviations.items():
            own = getattr(routing, name)
            assert own.std().item() == pytest.approx(deviation, rel=4 / math.sqrt(2 * own.numel())), name
        for name in ("active_bias", "vote_bias", "guess_bias", "alike_bias"):
            assert not getattr(routing, name).any()
    assert fixed.use.std().item() == pytest.approx(1, rel=0.1) and fixed.ignore.shape == (30, 40)
    assert varied.use.abs().max() <= 1 / 8 and varied.use.abs().max() > 0.12, "as in nn.Linear"


def test_shares_of_layers_are_those_of_training_and_nothing_else_changes_them():
    branch, states = routing_branch("text", **SMALL), states_of()
    assert list(branch.layer_weights().values()) == pytest.approx([1 / 7] * 7)
    ride(branch, states)
    with torch.no_grad():
        ride(branch.train(), states)
    assert list(branch.layer_weights().values()) == pytest.approx([1 / 7] * 7)
    ride(branch, states)
    expected = torch.zeros(7, dtype=torch.float64)
    for x in sequences(branch, states):
        product = torch.eye(len(x), dtype=torch.float64)
        for routing in (branch.first, branch.second, branch.last):
            x, phi = published_routing(routing, x)
            product = product @ phi
        sizes = product.abs().sum(1).unflatten(0, (-1, 7)).sum(0)
        expected += sizes / sizes.sum() / len(LAYOUT.lengths)
    found = torch.tensor(list(branch.layer_weights().values()), dtype=torch.float64)
    torch.testing.assert_close(found, 0.99 / 7 + 0.01 * expected, rtol=1e-4, atol=1e-6)
    words = routing_branch("unit", **SMALL).train()
    ride(words, states, rows=torch.tensor([1, 4]))
    assert sum(words.layer_weights().values()) == pytest.approx(1)
    assert words.layer_weights()[0] != pytest.approx(1 / 7, abs=1e-6)


def test_a_contribution_does_not_depend_on_padding():
    branch, states = routing_branch("text", **SMALL), states_of()
    alone = [
        branch.contributions({i: branch._normalised(i, part[i]) for i in range(7)}, Layout(torch.tensor([part.shape[1]])))
        for part in states.split(LAYOUT.lengths.tolist(), 1)
    ]
    together = branch.contributions({i: branch._normalised(i, states[i]) for i in range(7)}, LAYOUT)
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-4)
