"""The price of depth against its formula, and branches that are made to read fewer layers against sums over those alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from riding import LAYOUT, make, ride, ride_group, states_of

from trunkline.branches import BranchGroup
from trunkline.branches.dense import DenseGroup
from trunkline.branches.depth import expected_depth

METHODS = {"adalayers": {"dim": 8, "heads": 2, "alpha": 8}, "scalar_mix": {}}


def weights_of(branch):
    """The logits of the distribution over layers, and what they are multiplied by."""
    return (branch.p, branch.config.alpha) if hasattr(branch, "p") else (branch.s, 1.0)


@pytest.mark.parametrize("layers", [None, [1, 2, 6]])
@pytest.mark.parametrize("name", METHODS)
def test_the_penalty_is_the_price_times_the_mean_layer_over_the_number_of_blocks(name, layers):
    torch.manual_seed(0)
    branch = make(name, layers=layers, depth_penalty=0.3, **METHODS[name])
    shares = branch.layer_weights()
    assert branch.penalty().item() == pytest.approx(0.3 * sum(i * share for i, share in shares.items()) / 6, rel=1e-5)
    # Its gradient: price * alpha * p~_j (j - mean) / l, by the derivative of a softmax.
    logits, alpha = weights_of(branch)
    branch.penalty().backward()
    mean = sum(i * share for i, share in shares.items())
    assert logits.grad.tolist() == pytest.approx(
        [0.3 * alpha * share * (i - mean) / 6 for i, share in shares.items()], rel=1e-3, abs=1e-7
    )
    assert make(name, **METHODS[name]).penalty() == 0.0


def test_entropy_and_depth_are_paid_for_together():
    torch.manual_seed(0)
    price, entropy, both = (
        make("adalayers", **METHODS["adalayers"], **more)
        for more in ({"depth_penalty": 0.3}, {"entropy": 0.2}, {"depth_penalty": 0.3, "entropy": 0.2})
    )
    price.load_state_dict(both.state_dict())
    entropy.load_state_dict(both.state_dict())
    assert both.penalty().item() == pytest.approx(price.penalty().item() + entropy.penalty().item(), rel=1e-6)


def test_the_embeddings_cost_nothing_and_the_last_layer_all():
    trunk = make("probe").trunk
    assert expected_depth([0], torch.ones(1), trunk) == 0 and expected_depth([6], torch.ones(1), trunk) == 1
    assert expected_depth([0, 3, 6], torch.tensor([0.5, 0.25, 0.25]), trunk) == pytest.approx(0.375)


@pytest.mark.parametrize("name", METHODS)
def test_the_price_alone_ends_at_the_lowest_layer(name):
    torch.manual_seed(0)
    branch = make(name, layers="2-", depth_penalty=1.0, **METHODS[name])
    logits, alpha = weights_of(branch)
    optimizer = torch.optim.SGD([logits], lr=10 / alpha)
    for _ in range(300):
        optimizer.zero_grad()
        branch.penalty().backward()
        optimizer.step()
    shares = branch.layer_weights()
    assert max(shares, key=shares.__getitem__) == 2 and shares[2] > 0.9


@pytest.mark.parametrize("cutoff", [0.0, 0.01])
@pytest.mark.parametrize("name", METHODS)
def test_a_branch_that_keeps_layers_is_the_one_over_these_layers(name, cutoff):
    torch.manual_seed(0)
    more = {"cutoff": cutoff} if name == "adalayers" else {}
    whole = make(name, **METHODS[name], **more)
    whole.keep([0, 1, 3])
    assert whole.wanted() == (0, 1, 3) and all(torch.isfinite(value).all() for value in whole.state_dict().values())
    lower = make(name, layers=[0, 1, 3], **METHODS[name], **more)
    logits, own = weights_of(lower)[0], weights_of(whole)[0]
    kept = {key: value for key, value in whole.state_dict().items() if key in lower.state_dict()}
    kept |= {key: value[[0, 1, 3]] for key, value in kept.items() if key in ("p", "s", "path.mean", "path.scale")}
    lower.load_state_dict(kept)
    assert logits.tolist() == own[[0, 1, 3]].tolist()
    states = states_of()
    expected = ride(lower, states)
    torch.testing.assert_close(ride(whole, states), expected)
    torch.testing.assert_close(ride_group(BranchGroup({"a": whole, "b": lower}), states)["a"], expected)
    # The padded form, too, of which a graph is made.
    padded = {layer: LAYOUT.pad(states[layer]) for layer in (0, 1, 3)}
    torch.testing.assert_close(DenseGroup({"a": whole}, 7)(padded, LAYOUT.mask)["a"], expected)
    assert [share for share in whole.layer_weights().values() if share] == pytest.approx(list(lower.layer_weights().values()))


def test_a_layer_that_was_cut_off_does_not_come_back_when_others_are_dropped():
    branch = make("adalayers", dim=8, heads=2, alpha=1, cutoff=0.05)
    with torch.no_grad():
        branch.p.copy_(torch.tensor(np.log([0.045, 0.36, 0.2, 0.04, 0.04, 0.015, 0.3]), dtype=torch.float32))
    assert branch.wanted() == (1, 2, 6)  # that of layer 0 would be 0.064 of what is left without 6
    branch.keep(range(4))
    assert branch.wanted() == (1, 2)
    few = make("adalayers", dim=8, heads=2, alpha=1, cutoff=0.0, top_layers=2)
    with torch.no_grad():
        few.p.copy_(torch.tensor([0.0, 0.1, 0.2, 2.0, 0.3, 1.0, 0.4]))
    few.keep(range(4))
    assert few.wanted() == (3,)  # and not layer 2 in the place of 5


@pytest.mark.parametrize("name", METHODS)
def test_keeping_no_layer_that_is_read_is_an_error(name):
    with pytest.raises(ValueError, match="none of the layers"):
        make(name, layers=[2, 3], **METHODS[name]).keep([0, 1])
