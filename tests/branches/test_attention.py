"""Attention and the heads against torch's own modules, text by text."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from trunkline.branches import Output
from trunkline.branches.attention import SHORT, TINY, TinyHeads, attend
from trunkline.branches.dropout import Dropout
from trunkline.branches.head_stack import HeadStack, positions
from trunkline.branches.heads import FeatureHead, PooledHead
from trunkline.errors import BadInput
from trunkline.inputs.batching import Layout

LENGTHS = {
    "ragged": [5, 1, 9, 9, 2],
    "equal": [6, 6, 6],
    "one": [1],
    "middle": [SHORT + 3, 20, 7],
    "long": [90, 3, 70],
}


def pad(x, layout):
    """Padding is filled with garbage: nothing may depend on it."""
    full = layout.pad(x)
    return torch.where(layout.mask[..., None], full, torch.randn_like(full))


def tiny(qkv, layout, heads):
    """`TinyHeads` for queries, keys and values (B, T, 3k), giving (B, T, k)."""
    out = TinyHeads.apply(qkv.movedim(-1, 0).reshape(1, 3, heads, -1, *qkv.shape[:2]), layout.mask)
    return out.flatten(0, 2).movedim(0, -1)


def each_text(x, layout, function):
    """`function` of each text on its own, (1, T, k) to (1, T, c), laid end to end."""
    return torch.cat([function(part[None])[0] for part in x.split(layout.lengths.tolist())])


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS.keys())
@pytest.mark.parametrize("dim, heads", [(64, 16), (64, 8), (12, 1), (96, 2)])
def test_self_attention_equals_torch_with_gradients(lengths, dim, heads):
    torch.manual_seed(0)
    layout = Layout(torch.tensor(lengths))
    reference = nn.MultiheadAttention(dim, heads, batch_first=True).double()
    nn.init.normal_(reference.in_proj_bias)
    nn.init.normal_(reference.out_proj.bias)
    x = torch.randn(layout.total, dim, dtype=torch.float64, requires_grad=True)
    expected = each_text(x, layout, lambda t: reference(t, t, t, need_weights=False)[0])
    attended = attend(pad(x, layout), reference.in_proj_weight, reference.in_proj_bias, layout.mask, heads)
    found = layout.unpad(reference.out_proj(attended))
    torch.testing.assert_close(found, expected)

    weigh = torch.randn_like(expected)
    inputs = [x, *reference.parameters()]
    for ours, theirs in zip(
        torch.autograd.grad((found * weigh).sum(), inputs), torch.autograd.grad((expected * weigh).sum(), inputs), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_autocast_leaves_the_scores_in_float32():
    torch.manual_seed(0)
    layout = Layout(torch.tensor([3, 9]))
    qkv = layout.pad(torch.randn(layout.total, 24)).requires_grad_()
    results = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            out = tiny(qkv, layout, 2)
            results.append((out, *torch.autograd.grad(out.sum(), qkv)))
    assert all(torch.equal(plain, autocast) for plain, autocast in zip(*results, strict=True))


def test_short_attention_passes_gradcheck():
    torch.manual_seed(0)
    layout = Layout(torch.tensor([3, 1, 4]))
    qkv = torch.randn(layout.total, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: layout.unpad(tiny(pad(x, layout), layout, 2)), [qkv])


@pytest.mark.parametrize("exponent", [-4, 3, 6, 12])
@pytest.mark.parametrize("sign", [1, -1])
def test_scores_of_any_size_stay_exact(exponent, sign):
    """Scores far beyond the range of exp, of either sign, are shifted: no overflow, and no row of zeros.

    Whole numbers times a power of two make scores without rounding, so the result is sharp however large they are.
    """
    torch.manual_seed(0)
    layout = Layout(torch.tensor([4, 7]))
    q, k = torch.randint(1, 5, (2, layout.total, 8)).float().unbind()
    qkv = torch.cat([q * 2.0**exponent, sign * k * 2.0**exponent, torch.randn(layout.total, 8)], 1).requires_grad_()
    found = layout.unpad(tiny(pad(qkv, layout), layout, 2))
    expected = []
    for part in qkv.detach().double().split([4, 7]):
        query, key, value = (x.view(-1, 2, 4).transpose(0, 1) for x in part.split(8, 1))
        weights = torch.softmax(query @ key.transpose(1, 2) / 2, -1)
        expected.append((weights @ value).transpose(0, 1).reshape(-1, 8))
    torch.testing.assert_close(found.double(), torch.cat(expected), rtol=1e-5, atol=1e-6)
    found.sum().backward()
    assert torch.isfinite(qkv.grad).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_not_hidden(value):
    layout = Layout(torch.tensor([3, 2]))
    qkv = torch.randn(5, 12)
    qkv[1, 2] = value
    assert not torch.isfinite(tiny(layout.pad(qkv), layout, 2)[0]).all()


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, SHORT + 4), min_size=1, max_size=6),
    st.sampled_from([(8, 2), (4 * TINY, 4), (6 * TINY, 3)]),
    st.booleans(),
)
def test_stacked_attention_is_each_branch_by_itself(lengths, shape, masked):
    dim, heads = shape
    layout = Layout(torch.tensor(lengths if masked else [max(lengths)] * len(lengths)))
    mask = layout.mask if masked else None
    x = torch.randn(3, len(lengths), layout.longest, dim)
    weight, bias = torch.randn(3, 3 * dim, dim) / dim**0.5, torch.randn(3, 3 * dim)
    stacked = attend(x, weight, bias, mask, heads)
    for i in range(3):
        torch.testing.assert_close(layout.unpad(stacked[i]), layout.unpad(attend(x[i], weight[i], bias[i], mask, heads)))


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS.keys())
def test_encoder_layers_equal_torch(lengths, activation, count):
    torch.manual_seed(0)
    layout = Layout(torch.tensor(lengths))
    arguments = {"kind": "encoder", "heads": 4, "layers": 1, "feed_forward": 48, "dropout": 0.5, "positions": False}
    heads, layers = [], []
    for _ in range(count):
        layer = nn.TransformerEncoderLayer(32, 4, 48, activation=activation, norm_first=True, batch_first=True)
        own = FeatureHead(32, Output("unit", 3), **arguments, feed_forward_activation=activation)
        for p in layer.parameters():
            nn.init.normal_(p, std=0.3)
        own.encoder[0].load_state_dict(layer.state_dict())
        heads.append(own.double().eval())
        layers.append(layer.double().eval())
    x = torch.randn(count, layout.total, 32, dtype=torch.float64)
    stack, padded = HeadStack(heads, None), torch.stack([pad(own, layout) for own in x])
    found = stack._encoder(padded, layout.mask, stack.weights, "encoder.0.", [0.0] * count, None)
    rows = torch.arange(0, layout.total, 2)
    some = stack._encoder(padded, layout.mask, stack.weights, "encoder.0.", [0.0] * count, layout.cells[rows])
    for i, layer in enumerate(layers):
        expected = each_text(x[i], layout, layer)
        torch.testing.assert_close(layout.unpad(found[i]), expected)
        torch.testing.assert_close(some[i], expected[rows])


def head(kind, output, **more):
    arguments = {"heads": 4, "layers": 2, "feed_forward": 24, "dropout": 0.5, "positions": False, **more}
    return FeatureHead(16, output, kind=kind, **arguments)


def test_sequence_head_step_by_step():
    """Self-attention, GELU, mean over real tokens, linear; dropout does nothing in eval mode."""
    torch.manual_seed(0)
    own = head("attention", Output("text", 3)).eval()
    layout = Layout(torch.tensor([4, 2, 7]))
    x = torch.randn(layout.total, 16)
    gelu = nn.GELU()
    expected = []
    for text in x.split([4, 2, 7]):
        h = gelu(text)[:, None]
        h = gelu(own.attention(h, h, h)[0][:, 0])
        expected.append(own.linear(h.mean(0)))
    torch.testing.assert_close(own(x, layout), torch.stack(expected))


def test_token_head_step_by_step():
    torch.manual_seed(0)
    own = head("encoder", Output("unit", 5)).eval()
    torch_encoder = nn.TransformerEncoder(own.encoder[0], 2, enable_nested_tensor=False).eval()
    torch_encoder.layers = own.encoder
    for layer in own.encoder:  # only weights are kept in it
        layer.activation = nn.functional.gelu
    layout = Layout(torch.tensor([4, 2, 7]))
    x = torch.randn(layout.total, 16)
    expected = torch.cat([own.linear(torch_encoder(nn.functional.gelu(part)[:, None])[:, 0]) for part in x.split([4, 2, 7])])
    torch.testing.assert_close(own(x, layout), expected)
    rows = torch.tensor([0, 5, 12])
    torch.testing.assert_close(own(x, layout, rows), expected[rows])


@pytest.mark.parametrize("kind", ["attention", "encoder", "linear"])
@pytest.mark.parametrize("level", ["text", "unit"])
def test_positions_count_from_each_text_and_neighbours_do_not_matter(kind, level):
    torch.manual_seed(0)
    first = kind == "linear"  # the mean over a text of what is added after the GELU is the same in any order
    own = head(kind, Output(level, 3), positions=True, positions_first=first).eval()
    layout = Layout(torch.tensor([4, 9, 1]))
    x = torch.randn(layout.total, 16)
    together = own(x, layout)
    alone = torch.cat([own(part, Layout(torch.tensor([len(part)]))) for part in x.split([4, 9, 1])])
    torch.testing.assert_close(together, alone)
    order = torch.cat([torch.arange(4).flip(0), torch.arange(4, layout.total)])  # the first text read backwards
    assert not torch.allclose(own(x[order], layout)[0], together[0]), "order must matter with positions"


@pytest.mark.parametrize("kind", ["attention", "encoder", "linear"])
def test_dropout_drops_in_training_only(kind):
    own = head(kind, Output("unit", 3))
    layout = Layout(torch.tensor([4, 9, 1]))
    x = torch.randn(layout.total, 16)
    assert not torch.equal(own(x, layout), own(x, layout))
    own.eval()
    assert torch.equal(own(x, layout), own(x, layout))


@pytest.mark.parametrize("rate", [0.03, 0.1, 0.5, 0.97])
def test_dropout_keeps_the_right_share_and_the_mean(rate):
    torch.manual_seed(0)
    own, x = Dropout(rate), torch.full((301, 401), 2.0, requires_grad=True)
    out = own(x)
    dropped = (out == 0).double()
    spread = (rate * (1 - rate) / x.numel()) ** 0.5
    assert abs(dropped.mean() - rate) < 5 * spread
    torch.testing.assert_close(out[out != 0].unique(), torch.tensor([2 / (1 - rate)]), rtol=2e-3, atol=0)
    assert (dropped.mean(0) - rate).abs().max() < 6 * (rate * (1 - rate) / 301) ** 0.5, "no column may be special"
    neighbours = ((dropped[:, 1:] - rate) * (dropped[:, :-1] - rate)).mean() / (rate * (1 - rate))
    assert abs(neighbours) < 0.02, "neighbours share a draw, and must not share their fate"
    out.sum().backward()
    torch.testing.assert_close(x.grad, out.detach() / 2)


def test_dropout_follows_the_seed():
    own, x = Dropout(0.5), torch.ones(10, 7)
    torch.manual_seed(3)
    first = own(x)
    assert not torch.equal(own(x), first)
    torch.manual_seed(3)
    assert torch.equal(own(x), first)


def test_sinusoids_are_the_papers():
    table = positions(50, 6).numpy()
    for t in (0, 1, 7, 49):
        for i in range(3):
            angle = t / 10000 ** (2 * i / 6)
            np.testing.assert_allclose(table[t, 2 * i : 2 * i + 2], [np.sin(angle), np.cos(angle)], atol=1e-5)
    assert positions(4, 5).shape == (4, 5)


@pytest.mark.parametrize("pooling", ["cls", "mean", "last"])
def test_pooling_of_texts(pooling):
    torch.manual_seed(0)
    own = PooledHead(8, Output("text", 3), pooling, 0.0)
    x = torch.randn(9, 8)
    pick = {"cls": lambda t: t[0], "mean": lambda t: t.sum(0) / len(t), "last": lambda t: t[-1]}[pooling]
    expected = torch.stack([own.linear(pick(part)) for part in x.split([4, 2, 3])])
    torch.testing.assert_close(own(x, Layout(torch.tensor([4, 2, 3]))), expected)


def test_pooling_that_does_not_fit_the_task():
    with pytest.raises(BadInput, match=r"method\.pooling: found cls, expected token"):
        PooledHead(8, Output("unit", 3), "cls", 0.0)
    with pytest.raises(BadInput, match=r"method\.pooling: found token, expected cls, mean or last"):
        PooledHead(8, Output("text", 3), "token", 0.0)


def test_heads_must_divide_dim():
    with pytest.raises(BadInput, match=r"method\.heads: found 5 heads for dim 16, expected a divisor"):
        head("attention", Output("text", 3), heads=5)
    head("linear", Output("text", 3), heads=5)  # a linear head has none
