"""AdaLayers against the arithmetic of its published code (github.com/alexdremov/adalayers), re-derived with torch's modules.

As there: texts are padded, f_i of all layers are stacked, F is their weighted sum, then GELU, then positions. The
sequence head is `nn.MultiheadAttention`, the token head `nn.TransformerEncoderLayer` with GELU and the norm first.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from riding import LAYOUT, make, ride, ride_group, states_of
from torch import nn

from trunkline.branches import BranchGroup

ADA = {"dim": 16, "heads": 4, "feed_forward": 24, "alpha": 10.0, "cutoff": 0.0, "linear": False}


def published_distribution(p, alpha, cutoff, top):
    """Softmax of alpha p over the `top` largest; what is at or below the cut-off becomes 0, the rest is divided by its sum."""
    scaled = alpha * p.detach().clone()
    if top is not None:
        scaled[p.argsort(descending=True)[top:]] = -math.inf
    shares = scaled.softmax(0)
    shares[shares <= cutoff] = 0
    return shares / shares.sum()


def published_features(branch, states):
    """(B, T, k): F after GELU and positions."""
    config, weights = branch.config, branch.state_dict()
    shares = published_distribution(weights["p"], config.alpha, config.cutoff, config.top_layers)
    activated = [LAYOUT.pad(F.gelu(states[layer])) @ weights[f"projections.{layer}"].T for layer in branch.layers]
    features = F.gelu(torch.stack([F.layer_norm(x, (config.dim,)) for x in activated], -1) @ shares)
    if config.positions or (config.positions is None and branch.output.level == "unit"):
        time, column = torch.arange(features.shape[1])[:, None], torch.arange(0, config.dim, 2)
        angles = time * torch.exp(column * (-math.log(10000.0) / config.dim))
        features[..., 0::2] += angles.sin()
        features[..., 1::2] += angles.cos()
    return features


def published(branch, states):
    """Logits: (B, C) for texts, (N, C) for words."""
    config, weights, x = branch.config, branch.state_dict(), published_features(branch, states)
    own = {name.removeprefix("head."): value for name, value in weights.items() if name.startswith("head.")}
    part = lambda prefix: {name.removeprefix(prefix): value for name, value in own.items() if name.startswith(prefix)}  # noqa: E731
    if any(name.startswith("encoder.") for name in own):
        for i in range(config.encoder_layers):
            layer = nn.TransformerEncoderLayer(
                config.dim, config.heads, config.feed_forward, activation="gelu", norm_first=True, batch_first=True
            )
            layer.load_state_dict(part(f"encoder.{i}."))
            x = layer.eval()(x, src_key_padding_mask=~LAYOUT.mask)
    elif any(name.startswith("attention.") for name in own):
        attention = nn.MultiheadAttention(config.dim, config.heads, batch_first=True)
        attention.load_state_dict(part("attention."))
        x = F.gelu(attention(x, x, x, key_padding_mask=~LAYOUT.mask)[0])
    if branch.output.level == "text":
        mask = LAYOUT.mask[..., None]
        x = (x * mask).sum(1) / mask.sum(1)
    else:
        x = LAYOUT.unpad(x)
    return x @ own["linear.weight"].T + own["linear.bias"]


CASES = [
    (level, {"positions": positions, "head": head, **more})
    for level in ("text", "unit")
    for positions in (False, True)
    for head in ("attention", "encoder")
    for more in ({}, {"cutoff": 0.1}, {"top_layers": 3}, {"top_layers": 4, "cutoff": 0.15, "layers": "0-5"})
] + [("text", {}), ("unit", {"encoder_layers": 2})]


@torch.no_grad()
@pytest.mark.parametrize(("level", "config"), CASES)
def test_the_same_weights_give_the_same_numbers(level, config):
    torch.manual_seed(3)
    branch = make("adalayers", level, **{**ADA, **config})
    for parameter in branch.head.parameters():
        nn.init.normal_(parameter, std=0.3)
    states = states_of()
    expected = published(branch, states)
    torch.testing.assert_close(ride(branch, states), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ride_group(BranchGroup({"a": branch}), states)["a"], expected, rtol=1e-5, atol=1e-5)


def test_the_penalty_is_the_mean_over_all_layers():
    """Its code sums -p~ log p~ over an axis of length 1 and takes the mean of the rest, so lambda weighs H(p~) / layers."""
    torch.manual_seed(1)
    branch = make("adalayers", entropy=0.25, cutoff=0.1)
    shares = torch.tensor(list(branch.layer_weights().values()))[:, None]
    assert (shares == 0).any()
    expected = 0.25 * -(shares * torch.log(shares + 1e-6)).sum(-1).mean()
    torch.testing.assert_close(branch.penalty().detach(), expected, rtol=1e-5, atol=1e-5)


def test_the_largest_layers_are_kept_and_read():
    branch = make("adalayers", top_layers=2)
    with torch.no_grad():
        branch.p.copy_(torch.tensor([0.0, 3.0, -1.0, 2.0, 2.5, 0.0, 0.0]) / branch.config.alpha)
    assert branch.wanted() == (1, 4)
    assert branch.layer_weights()[1] == pytest.approx(math.exp(0.5) / (1 + math.exp(0.5)))
    assert make("adalayers", top_layers=7, cutoff=0).wanted() == tuple(range(7)), "as many as there are is no choice"


def test_layers_that_were_not_kept_may_come_back():
    """p of a layer that is left out stays as it is: when one that is kept falls below it, the two change places."""
    branch = make("adalayers", top_layers=1)
    with torch.no_grad():
        branch.p.copy_(torch.tensor([0.5, 0.4, 0.0, 0.0, 0.0, 0.0, 0.0]))
        assert branch.wanted() == (0,)
        branch.p[0] = 0.3
    assert branch.wanted() == (1,)


@pytest.mark.parametrize(("key", "share"), [("feature_dropout", 0.4), ("position_dropout", 0.4)])
def test_features_are_dropped_in_training_only_and_keep_their_mean(key, share):
    """With an identity for a head, so that what is dropped shows: a cell of F is 0 only where all of it was dropped."""
    torch.manual_seed(0)
    config = {**ADA, "head": "linear", "positions": key == "position_dropout", "layers": [2], "dropout": 0.0, key: share}
    branch = make("adalayers", "unit", size=16, **config)
    with torch.no_grad():
        branch.head.linear.weight.copy_(torch.eye(16))
        branch.head.linear.bias.zero_()
    states = states_of()
    calm = ride(branch, states).detach()
    branch.train()
    drawn = torch.stack([ride(branch, states).detach() for _ in range(400)])
    dropped = (drawn == 0).float()
    assert abs(dropped.mean() - share) < 0.01
    assert (dropped.mean(0) - share).abs().max() < 0.15, "no cell is special"
    kept = drawn.sum(0) / (drawn != 0).sum(0)
    if key == "position_dropout":  # nothing follows it
        torch.testing.assert_close(kept, calm / (1 - share), rtol=1e-3, atol=1e-5)
    else:  # GELU follows it
        f = F.layer_norm(F.gelu(states[2]) @ branch.projections["2"].detach().T, (16,))
        torch.testing.assert_close(kept, F.gelu(f / (1 - share)), rtol=1e-3, atol=1e-4)
    branch.eval()
    assert torch.equal(ride(branch, states), calm)


@torch.no_grad()
def test_features_of_each_layer_are_dropped_on_their_own():
    """Two layers of which one dropped a feature still add the other's: one mask for both would leave a zero or all of it."""
    torch.manual_seed(0)
    config = {**ADA, "head": "linear", "positions": False, "layers": [2, 3], "dropout": 0.0, "feature_dropout": 0.5}
    branch = make("adalayers", "unit", size=16, **config).train()
    branch.head.linear.weight.copy_(torch.eye(16))
    branch.head.linear.bias.zero_()
    states, shares = states_of(), branch.layer_weights()
    f = [2 * shares[i] * F.layer_norm(F.gelu(states[i]) @ branch.projections[str(i)].T, (16,)) for i in (2, 3)]
    found = ride(branch, states)
    parts = [torch.zeros_like(f[0]), F.gelu(f[0]), F.gelu(f[1]), F.gelu(f[0] + f[1])]
    seen = torch.stack([torch.isclose(found, part, rtol=1e-3, atol=1e-4) for part in parts]).float().mean((1, 2))
    assert seen.min() > 0.15, "each of none, one, the other and both"
