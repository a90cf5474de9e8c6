"""One differentiable stack: n branches trained as one are n branches trained alone."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from riding import TRUNK, make, ride, ride_group, states_of
from torch import nn

from trunkline.branches import BranchGroup, Output
from trunkline.branches.adalayers import AdaLayers, AdaLayersConfig
from trunkline.branches.group import declared
from trunkline.branches.heads import FeatureHead
from trunkline.branches.normed import add_normed, centred
from trunkline.inputs.batching import Layout

ADA = {"dim": 16, "heads": 4, "feed_forward": 24, "dropout": 0.0}


def plainly(total, y, share, readers, mask):
    """`add_normed` with torch's layer norm."""
    f = F.layer_norm(y, y.shape[-1:])
    return total.index_add(1, torch.tensor(readers), (f if mask is None else f * mask) * share)


@pytest.mark.parametrize("readers", [[0, 1, 2, 3], [1], [0, 2, 3]])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("at_once", [1 << 19, 20])
def test_the_sum_is_that_of_layer_norms_with_gradients(readers, masked, at_once, monkeypatch):
    monkeypatch.setattr("trunkline.branches.normed.AT_ONCE", at_once)
    torch.manual_seed(0)
    z = torch.randn(9, 5, dtype=torch.float64)
    w = torch.randn(len(readers), 6, 5, dtype=torch.float64, requires_grad=True)
    share = torch.rand(len(readers), 1, dtype=torch.float64, requires_grad=True)
    before = torch.randn(9, 4, 6, dtype=torch.float64, requires_grad=True)
    mask = (torch.rand(9, len(readers), 6) > 0.3).double() * 2 if masked else None
    y = torch.einsum("ni,rki->nrk", z, torch.stack([centred(own) for own in w]))
    found = add_normed(before.clone(), y, share, readers, mask)
    expected = plainly(before, torch.einsum("ni,rki->nrk", z, w), share, readers, mask)
    torch.testing.assert_close(found, expected)
    weigh = torch.randn_like(found)
    ours = torch.autograd.grad((found * weigh).sum(), (before, w, share))
    theirs = torch.autograd.grad((expected * weigh).sum(), (before, w, share))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


MANY = [
    ("text", {"alpha": 4.0 + i, "cutoff": 0.13 * (i % 2), "layers": "0-5" if i % 3 else None, "entropy": 0.1})
    for i in range(16)
]
WORDS = [("unit", {"alpha": 4.0 + i, "encoder_layers": 1, "cutoff": 0.1 * (i % 2)}) for i in range(4)]


def batches(count):
    """Layer states, lengths and class numbers of `count` batches."""
    generator = torch.Generator().manual_seed(5)
    for seed in range(count):
        layout = Layout(torch.randint(1, 9, (6,), generator=generator))
        yield (
            states_of(layout=layout, seed=seed, dtype=torch.float64),
            layout,
            torch.randint(0, 3, (layout.total,), generator=generator),
        )


def step(branches, states, layout, answers):
    """Gradients of all branches' losses, computed as one stack."""
    group = BranchGroup(branches, frozen=None)
    logits = ride_group(group, states, layout)
    losses = []
    for name, branch in branches.items():
        gold = answers[: len(layout.lengths)] if branch.output.level == "text" else answers
        losses.append(F.cross_entropy(logits[name], gold) + branch.penalty())
    torch.stack(losses).sum().backward()
    return group


@pytest.mark.parametrize("configs", [MANY, WORDS], ids=["texts", "words"])
def test_branches_trained_as_one_stack_equal_those_trained_alone(configs):
    """Adam for 6 steps, at a rate of its own for each; layers drop out on the way, at other times for each branch.

    In float64, as Adam makes steps of full size of the rounding errors that stand for a gradient of 0 (biases of keys).
    """

    def fresh():
        torch.manual_seed(0)
        made = [make("adalayers", level, **{**ADA, **config}).train().double() for level, config in configs]
        return {str(i): branch for i, branch in enumerate(made)}

    def optimisers(branches):
        return [torch.optim.AdamW(b.parameter_groups(0.1), lr=1e-3 * (1 + i)) for i, b in enumerate(branches.values())]

    together, alone = fresh(), fresh()
    many, single = optimisers(together), optimisers(alone)
    for batch in batches(6):
        group = step(together, *batch)
        assert len(group.stacks) == 1 and group.stacks[0].count == len(configs), "one stack holds them all"
        for (name, branch), own in zip(alone.items(), single, strict=True):
            step({name: branch}, *batch)
            own.step()
            own.zero_grad()
        for own in many:
            own.step()
            own.zero_grad()
    begun = fresh()
    for name in together:
        for (key, value), other in zip(together[name].state_dict().items(), alone[name].state_dict().values(), strict=True):
            torch.testing.assert_close(value, other, rtol=1e-5, atol=1e-5, msg=lambda text, at=(name, key): f"{at}: {text}")
        assert any(not torch.equal(a, b) for a, b in zip(begun[name].parameters(), together[name].parameters(), strict=True))


def test_a_layer_that_a_branch_cut_off_has_no_gradient():
    torch.manual_seed(0)
    branches = {str(i): make("adalayers", cutoff=0.13, **ADA).train().double() for i in range(3)}
    step(branches, *next(iter(batches(1))))
    for branch in branches.values():
        wanted = branch.wanted()
        assert 0 < len(wanted) < 7
        assert {layer for layer in range(7) if branch.projections[str(layer)].grad is not None} == set(wanted)


def test_each_branch_of_a_stack_is_dropped_at_its_own_rate():
    """A branch without dropout is not touched by its neighbours' draws, and one with it is."""
    torch.manual_seed(0)
    rates = [0.0, 0.5, 0.2]
    branches = {str(i): make("adalayers", **{**ADA, "dropout": rate, "feature_dropout": rate}) for i, rate in enumerate(rates)}
    calm = {name: ride(branch, states_of()).detach() for name, branch in branches.items()}
    for branch in branches.values():
        branch.train()
    found = ride_group(BranchGroup(branches, frozen=None), states_of())
    torch.testing.assert_close(found["0"], calm["0"], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found["1"], calm["1"], atol=1e-3) and not torch.allclose(found["2"], calm["2"], atol=1e-3)


class Doubled(AdaLayers):
    """Reads every state twice as large: what AdaLayers declares of itself does not hold for it."""

    def read(self, carry, layer, state):
        return super().read(carry, layer, type(state)(state.rows * 2, state.layout))


class Negative(AdaLayers):
    def finish(self, carry, layout, rows=None):
        return -super().finish(carry, layout, rows)


class Mixed(type("Mixin", (), {"read": Doubled.read}), AdaLayers):
    """The same by way of a class that is no side branch itself."""


Mixed.read = lambda self, carry, layer, state: AdaLayers.read(self, carry, layer, type(state)(state.rows * 2, state.layout))


class LouderHead(FeatureHead):
    def forward(self, features, layout, rows=None):
        return super().forward(features, layout, rows) + 1


class OtherHead(AdaLayers):
    def __init__(self, config, trunk, output):
        super().__init__(config, trunk, output)
        arguments = {"kind": "attention", "heads": 4, "layers": 1, "feed_forward": 24, "dropout": 0.0, "positions": False}
        self.head = LouderHead(16, output, **arguments)


class Weighted(AdaLayers):
    """A subclass that changes what the stack asks it for is stacked, and right."""

    def distribution(self):
        layers, weights = super().distribution()
        return layers, weights.flip(0)


@pytest.mark.parametrize("frozen", [torch.float32, None])
@pytest.mark.parametrize(
    ("kind", "stacked"), [(Doubled, False), (Negative, False), (Mixed, False), (OtherHead, False), (Weighted, True)]
)
def test_a_subclass_that_overrides_what_a_stack_computes_is_not_stacked(kind, stacked, frozen):
    torch.manual_seed(0)
    plain = make("adalayers", **ADA)
    own = kind(AdaLayersConfig(**ADA), TRUNK, Output("text", 3)).eval()
    nn.init.normal_(own.p, std=0.1)
    assert (declared(own) is not None) == stacked and declared(plain) is not None
    answers = ride_group(BranchGroup({"own": own, "plain": plain}, frozen), states_of())
    torch.testing.assert_close(answers["own"].detach(), ride(own, states_of()).detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(answers["plain"].detach(), ride(plain, states_of()).detach(), rtol=1e-4, atol=1e-5)
    inherited = AdaLayers(own.config, TRUNK, own.output).eval()
    if kind is not OtherHead:
        inherited.load_state_dict(own.state_dict())
        assert not torch.allclose(answers["own"], ride(inherited, states_of()), atol=1e-3), "the override shows"


def test_threads_share_a_group():
    """Nothing of a batch is in the group: passes at once, on other states and lengths, answer as one after the other."""
    torch.manual_seed(0)
    group = BranchGroup({str(i): make("adalayers", **ADA, cutoff=0.1 * (i % 2)) for i in range(4)} | {"probe": make("probe")})
    work = [(states_of(layout=layout, seed=i), layout) for i in range(40) for layout in [Layout(torch.tensor([1 + i % 7, 3]))]]
    expected = [ride_group(group, *one) for one in work]
    pause = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as pool:
            for found, right in zip(pool.map(lambda one: ride_group(group, *one), work * 5), expected * 5, strict=True):
                assert all(torch.equal(found[name], right[name]) for name in right)
    finally:
        sys.setswitchinterval(pause)
