"""AdaLayers against its formulas written out in numpy, and the counts of its document."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from riding import LAYOUT, TRUNK, make, ride, ride_group, states_of
from scipy.special import erf
from scipy.stats import entropy

from trunkline.branches import BranchGroup, LayerState, Output, TrunkShape
from trunkline.branches.adalayers import AdaLayers, AdaLayersConfig
from trunkline.branches.single_layer import SingleLayer, SingleLayerConfig
from trunkline.errors import BadInput

ACTIVATIONS = {
    "gelu": lambda x: x * (1 + erf(x / 2**0.5)) / 2,
    "relu": lambda x: x * (x > 0),
    "none": lambda x: x,
    "tanh": np.tanh,
}


def distribution(p, alpha, cutoff):
    """p~ of the document, cut off and renormalised."""
    e = np.exp(alpha * (p - p.max()))
    share = e / e.sum()
    share[(share <= cutoff) & (share < share.max())] = 0
    return share / share.sum()


def by_hand(branch, states):
    """The document's formulas, text by text, in float64 numpy: (texts, C)."""
    config = branch.config
    weight = {key: value.detach().double().numpy() for key, value in branch.state_dict().items()}
    gelu, act = ACTIVATIONS["gelu"], ACTIVATIONS[config.activation]
    shares = distribution(weight["p"], config.alpha, config.cutoff)
    answers, start = [], 0
    for length in LAYOUT.lengths.tolist():
        features = np.zeros((length, config.dim))
        for share, layer in zip(shares, branch.layers, strict=True):
            f = act(states[layer, start : start + length].double().numpy()) @ weight[f"projections.{layer}"].T
            f = (f - f.mean(1, keepdims=True)) / np.sqrt(f.var(1, keepdims=True) + 1e-5)
            features += share * f
        if config.positions:
            sinusoids = np.zeros((length, config.dim))
            for t in range(length):
                for i in range(config.dim):
                    angle = t / 10000 ** (i // 2 * 2 / config.dim)
                    sinusoids[t, i] = np.cos(angle) if i % 2 else np.sin(angle)
            x = gelu(features + sinusoids) if config.positions_first else gelu(features) + sinusoids
        else:
            x = gelu(features)
        qkv = x @ weight["head.attention.in_proj_weight"].T + weight["head.attention.in_proj_bias"]
        q, k, v = np.split(qkv, 3, 1)
        heads, width = [], config.dim // config.heads
        for h in range(config.heads):
            part = slice(h * width, (h + 1) * width)
            scores = np.exp(q[:, part] @ k[:, part].T / np.sqrt(width))
            heads.append(scores / scores.sum(1, keepdims=True) @ v[:, part])
        x = np.concatenate(heads, 1) @ weight["head.attention.out_proj.weight"].T + weight["head.attention.out_proj.bias"]
        answers.append(gelu(x).mean(0) @ weight["head.linear.weight"].T + weight["head.linear.bias"])
        start += length
    return np.stack(answers)


@pytest.mark.parametrize("positions, first", [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("activation", ["gelu", "relu", "none"])
@pytest.mark.parametrize("layers, cutoff", [(None, 0.0), ([1, 3, 6], 0.0), (None, 0.1)])
def test_logits_are_the_documents_formulas(positions, first, activation, layers, cutoff):
    torch.manual_seed(0)
    config = {"positions": positions, "positions_first": first, "activation": activation, "layers": layers, "cutoff": cutoff}
    branch = make("adalayers", dim=16, heads=4, linear=False, **config)
    torch.nn.init.normal_(branch.head.attention.in_proj_bias)
    torch.nn.init.normal_(branch.head.attention.out_proj.bias)
    assert len(branch.wanted()) < len(branch.layers) or not cutoff, "the cut-off must cut for this test to see it"
    found = ride(branch, states_of()).detach().numpy()
    np.testing.assert_allclose(found, by_hand(branch, states_of()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "states, dim, heads, size, level, head, count",
    [
        (24, 64, 16, 2, "text", None, 1_589_658),
        (24, 64, 8, 2, "text", None, 1_589_658),
        (13, 64, 16, 2, "text", None, 868_751),
        (13, 64, 8, 2, "text", None, 868_751),
        (24, 128, 8, 9, "unit", "attention", 3_212_961),
        (13, 128, 8, 9, "unit", "attention", 1_771_158),
        (24, 128, 8, 9, "unit", None, 3_212_961 + 526_976),
    ],
)
def test_added_weights_of_the_document_to_the_digit(states, dim, heads, size, level, head, count):
    """RoBERTa-large (24 of its states) and BART-large's encoder (13 states), hidden size 1024."""
    trunk = TrunkShape(24 if states == 24 else 12, 1024)
    layers = f"1-{states}" if states == 24 else None
    config = AdaLayersConfig(dim=dim, heads=heads, head=head, layers=layers, feed_forward=2048, linear=False)
    with torch.device("meta"):
        branch = AdaLayers(config, trunk, Output(level, size))
    assert sum(p.numel() for p in branch.parameters()) == count


def test_all_layers_start_equal():
    branch = AdaLayers(AdaLayersConfig(), TRUNK, Output("text", 2))
    assert branch.wanted() == tuple(range(7))
    assert list(branch.layer_weights().values()) == pytest.approx([1 / 7] * 7)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-1, 1, width=32), min_size=7, max_size=7),
    st.floats(0.5, 128),
    st.sampled_from([0.0, 0.005, 0.01, 0.1, 0.3, 0.9]),
)
def test_the_distribution_is_cut_and_renormalised_and_never_empty(p, alpha, cutoff):
    branch = AdaLayers(AdaLayersConfig(alpha=alpha, cutoff=cutoff, dim=8, heads=1), TRUNK, Output("text", 2))
    with torch.no_grad():
        branch.p.copy_(torch.tensor(p))
    shares = torch.softmax(alpha * torch.tensor(p), 0)
    if ((shares - cutoff).abs() < 1e-6).any() or (shares.topk(2).values.diff().abs() < 1e-6).any():
        return  # which side of the cut-off it falls on is a matter of rounding
    expected = distribution(np.array(p), alpha, cutoff)
    assert list(branch.layer_weights().values()) == pytest.approx(list(expected), abs=1e-5)
    if cutoff:
        assert branch.wanted() == tuple(np.flatnonzero(expected)) != ()


def test_a_share_at_the_cut_off_is_cut():
    """Two layers with shares 1/4 and 3/4, and a third with next to nothing; 0.25 is cut at 0.25."""
    config = AdaLayersConfig(layers=[0, 2, 4], alpha=1, cutoff=0.25, dim=8, heads=1)
    branch = AdaLayers(config, TRUNK, Output("text", 2))
    with torch.no_grad():
        branch.p.copy_(torch.tensor([0.0, 1.0986123, -200.0]))
        shares = torch.softmax(branch.p, 0)
        branch.config.cutoff = shares[0].item()
    assert branch.wanted() == (2,)
    assert branch.layer_weights() == {0: 0.0, 2: 1.0, 4: 0.0}


def test_a_p_that_is_no_number_shows_in_the_logits():
    branch = make("adalayers", cutoff=0.1)
    with torch.no_grad():
        branch.p[2] = float("inf")
    assert branch.wanted() == tuple(range(7))
    assert ride(branch, states_of()).isnan().all()
    assert ride_group(BranchGroup({"a": branch}), states_of())["a"].isnan().all()


def test_gradients_of_p_through_the_survivors():
    torch.manual_seed(0)
    branch = make("adalayers", dim=8, heads=2, cutoff=0.05, entropy=0.3).double()
    states = states_of(dtype=torch.float64)
    cut = [i for i, layer in enumerate(branch.layers) if layer not in branch.wanted()]
    assert 0 < len(cut) < 6

    branch.forward = lambda: ride(branch, states).square().sum() + branch.penalty()

    def loss(p):
        return torch.func.functional_call(branch, {"p": p}, ())

    p = branch.p.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(loss, [p])
    (grad,) = torch.autograd.grad(loss(p), p)
    assert (grad[cut] == 0).all() and grad.abs().sum() > 0


@pytest.mark.parametrize("cutoff", [0.0, 0.1])
def test_penalty_is_lambda_times_the_entropy_by_the_number_of_layers(cutoff):
    torch.manual_seed(1)
    branch = make("adalayers", entropy=0.25, cutoff=cutoff)
    assert branch.penalty().item() == pytest.approx(0.25 * entropy(list(branch.layer_weights().values())) / 7, rel=1e-5)
    assert make("adalayers").penalty() == 0.0


def test_entropy_pushes_towards_few_layers():
    branch = make("adalayers", entropy=7.0, cutoff=0.01)
    optimizer = torch.optim.SGD([branch.p], lr=1e-3)
    for _ in range(300):
        optimizer.zero_grad()
        branch.penalty().backward()
        optimizer.step()
        if len(branch.wanted()) == 1:
            break
    assert len(branch.wanted()) < 4


def test_a_frozen_distribution_has_no_gradient_and_all_else_has():
    torch.manual_seed(0)
    learned = make("adalayers", dim=8, heads=2, cutoff=0.0)
    frozen = make("adalayers", dim=8, heads=2, cutoff=0.0, freeze_distribution=True)
    frozen.load_state_dict(learned.state_dict())
    for branch in (learned, frozen):
        ride(branch, states_of()).square().sum().backward()
    ours, theirs = dict(frozen.named_parameters()), dict(learned.named_parameters())
    assert ours.keys() == theirs.keys() and ours["p"].grad is None and theirs["p"].grad.abs().sum() > 0
    assert "p" not in [name for name, value in ours.items() if value.requires_grad]
    for name in ours.keys() - {"p"}:
        torch.testing.assert_close(ours[name].grad, theirs[name].grad)


def test_single_layer_equals_adalayers_with_one_hot_p():
    for layer in range(7):
        ada = make("adalayers", dim=16, heads=4, cutoff=0.0)
        with torch.no_grad():
            ada.p.zero_()[layer] = 100.0
        single = SingleLayer(SingleLayerConfig(dim=16, heads=4, layer=layer - 7), TRUNK, Output("text", 3)).eval()
        kept = {key: value for key, value in ada.state_dict().items() if key != "p" and "projections" not in key}
        kept |= {name: kept[name][layer : layer + 1] for name in ("path.mean", "path.scale")}
        single.load_state_dict({**kept, f"projections.{layer}": ada.projections[str(layer)]})
        assert single.wanted() == (layer,) and single.layer_weights() == {layer: 1.0} and single.penalty() == 0.0
        torch.testing.assert_close(ride(single, states_of()), ride(ada, states_of()))


@pytest.mark.parametrize(
    "config, message",
    [
        ({"layers": [13]}, "method.layers: found layer 13, expected 0 to 6"),
        ({"dim": 64, "heads": 7}, "method.heads: found 7 heads for dim 64, expected a divisor of dim"),
        ({"freeze_distribution": True, "entropy": 0.1}, "method.entropy: found 0.1, expected 0 with freeze_distribution"),
        ({"freeze_distribution": True, "depth_penalty": 1}, "method.depth_penalty: found 1.0, expected 0 with freeze_distr"),
    ],
)
def test_configs_that_do_not_fit_the_trunk(config, message):
    with pytest.raises(BadInput) as caught:
        make("adalayers", **config)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "config", [{"alpha": 0}, {"alpha": -1}, {"cutoff": -0.1}, {"cutoff": 1}, {"dim": 0}, {"dropout": 1}, {"activation": "exp"}]
)
def test_numbers_out_of_range(config):
    with pytest.raises(ValidationError) as caught:
        AdaLayersConfig(**config)
    assert caught.value.errors()[0]["loc"] == tuple(config)


def test_layers_may_come_in_any_order_of_reads():
    branch = make("adalayers", dim=8, heads=2)
    torch.testing.assert_close(ride(branch, states_of(), layers=range(6, -1, -1)), ride(branch, states_of()))


def test_one_carry_serves_many_endings():
    """A carry is a value: reading on from it twice gives two independent results."""
    branch = make("adalayers", dim=8, heads=2, cutoff=0.0)
    states = states_of()
    carry = None
    for layer in range(6):
        carry = branch.read(carry, layer, LayerState(states[layer], LAYOUT))
    first = branch.finish(branch.read(carry, 6, LayerState(states[6], LAYOUT)), LAYOUT)
    branch.finish(branch.read(carry, 6, LayerState(states[5], LAYOUT)), LAYOUT)
    again = branch.finish(branch.read(carry, 6, LayerState(states[6], LAYOUT)), LAYOUT)
    assert torch.equal(first, again)
