"""Scalar mix and the probe against loops over texts and layers."""

import numpy as np
import pytest
import torch
from riding import LAYOUT, TRUNK, make, ride, states_of

from trunkline.branches import Output
from trunkline.branches.group import pooling_of
from trunkline.branches.probe import Probe, ProbeConfig
from trunkline.branches.scalar_mix import ScalarMix, ScalarMixConfig
from trunkline.errors import BadInput
from trunkline.inputs.batching import Layout


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("layers", [None, [0, 2, -1]])
@pytest.mark.parametrize("level", ["text", "unit"])
def test_scalar_mix_is_elmos_sum(layer_norm, layers, level):
    torch.manual_seed(0)
    branch = make("scalar_mix", level, layers=layers, layer_norm=layer_norm)
    s, gamma = branch.s.detach().numpy(), branch.gamma.item()
    states = states_of().double().numpy()
    mix = np.zeros(states.shape[1:])
    for share, layer in zip(np.exp(s) / np.exp(s).sum(), branch.layers, strict=True):
        for t, row in enumerate(states[layer]):
            mix[t] += share * ((row - row.mean()) / np.sqrt(row.var() + 1e-5) if layer_norm else row)
    mix *= gamma
    weight, bias = branch.head.linear.weight.detach().numpy(), branch.head.linear.bias.detach().numpy()
    if level == "text":
        ends = np.cumsum(LAYOUT.lengths.numpy())
        mix = np.stack([text.mean(0) for text in np.split(mix, ends[:-1])])
    np.testing.assert_allclose(ride(branch, states_of()).detach().numpy(), mix @ weight.T + bias, rtol=1e-4, atol=1e-5)


def test_scalar_mix_starts_equal_and_counts_its_weights():
    branch = ScalarMix(ScalarMixConfig(), TRUNK, Output("text", 5))
    assert list(branch.layer_weights().values()) == pytest.approx([1 / 7] * 7)
    assert branch.gamma.item() == 1
    assert sum(p.numel() for p in branch.parameters()) == 7 + 1 + 32 * 5 + 5


@pytest.mark.parametrize("layer", [-1, 0, 4])
@pytest.mark.parametrize("pooling", ["cls", "mean", "last"])
def test_probe_is_linear_on_one_layer(layer, pooling):
    torch.manual_seed(0)
    branch = make("probe", layer=layer, pooling=pooling)
    pick = {"cls": lambda t: t[0], "mean": lambda t: t.mean(0), "last": lambda t: t[-1]}[pooling]
    pooled = torch.stack([pick(text) for text in states_of()[layer].split(LAYOUT.lengths.tolist())])
    expected = pooled @ branch.head.linear.weight.T + branch.head.linear.bias
    torch.testing.assert_close(ride(branch, states_of()), expected)
    assert branch.wanted() == (layer % 7,)


def test_probe_of_words_reads_their_own_rows():
    torch.manual_seed(0)
    branch, rows = make("probe", "unit"), torch.tensor([15, 2, 2, 7])
    expected = states_of()[6][rows] @ branch.head.linear.weight.T + branch.head.linear.bias
    torch.testing.assert_close(ride(branch, states_of(), rows=rows), expected)


@pytest.mark.parametrize("name", ["probe", "scalar_mix"])
def test_pooling_must_fit_the_level(name):
    with pytest.raises(BadInput, match=r"method\.pooling: found mean, expected token"):
        make(name, "unit", pooling="mean")


@pytest.mark.parametrize("name", ["probe", "single_layer"])
def test_a_layer_that_is_not_there(name):
    with pytest.raises(BadInput, match=r"^method\.layer: found layer 7, expected 0 to 6"):
        make(name, layer=7)


@pytest.mark.parametrize("pooling", ["cls", "mean", "last"])
@pytest.mark.parametrize("method", ["probe", "scalar_mix", "scalar_mix, normalised"])
def test_pooled_states_as_texts_of_one_row_have_the_same_logits(method, pooling):
    torch.manual_seed(0)
    name, _, normalised = method.partition(", ")
    branch = make(name, pooling=pooling, **({"layer_norm": True} if normalised else {}))
    declared = pooling_of(branch)
    assert declared == (None if normalised and pooling == "mean" else pooling)
    states = torch.stack([LAYOUT.pooled(layer, pooling) for layer in states_of()])
    ones = Layout(torch.ones(len(LAYOUT.lengths)))
    same = torch.allclose(ride(branch, states, ones), ride(branch, states_of()), atol=1e-5)
    assert same == (declared is not None)


def test_words_and_changed_branches_read_all_tokens():
    class Scaled(Probe):
        def finish(self, carry, layout, rows=None):
            return super().finish(carry, layout, rows) * layout.lengths[:, None]

    assert [pooling_of(make(name, "unit")) for name in ("probe", "scalar_mix")] == [None, None]
    assert pooling_of(make("adalayers")) is None
    assert pooling_of(Probe(ProbeConfig(), TRUNK, Output("text", 2))) == "mean"
    assert pooling_of(Scaled(ProbeConfig(), TRUNK, Output("text", 2))) is None
