"""A group gives what each of its branches gives by itself, in any mix."""

import gc
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from riding import LAYOUT, TRUNK, make, ride, ride_group, states_of

from trunkline.branches import BranchGroup, TrunkShape
from trunkline.inputs.batching import Layout

ADA = {"dim": 16, "heads": 4, "feed_forward": 24}
BRANCHES = [
    ("adalayers", "text", 3, {**ADA}),
    ("adalayers", "text", 7, {**ADA, "cutoff": 0.12}),
    ("adalayers", "text", 2, {**ADA, "cutoff": 0.1, "layers": [0, 2, 3, 5]}),
    ("adalayers", "unit", 4, {**ADA, "head": "attention", "positions": False, "cutoff": 0.15}),
    ("adalayers", "unit", 5, {**ADA, "encoder_layers": 2}),
    ("adalayers", "unit", 3, {**ADA, "encoder_layers": 2, "cutoff": 0.1}),
    ("adalayers", "text", 3, {**ADA, "activation": "relu", "head": "linear"}),
    ("adalayers", "text", 3, {"dim": 8, "heads": 1, "positions": True, "head": "encoder"}),
    ("adalayers", "text", 3, {"dim": 8, "heads": 1, "positions": True, "positions_first": True, "head": "encoder"}),
    ("adalayers", "text", 3, {"dim": 8, "heads": 1, "head": "encoder", "feed_forward_activation": "relu"}),
    ("adalayers", "text", 3, {"dim": 8, "heads": 1, "head": "encoder", "top_layers": 3}),
    ("adalayers", "text", 3, {**ADA, "linear": False}),
    ("single_layer", "text", 3, {**ADA, "layer": 2}),
    ("single_layer", "text", 3, {**ADA, "layer": -1}),
    ("probe", "text", 3, {}),
    ("probe", "unit", 6, {"layer": 1}),
    ("scalar_mix", "text", 3, {"layers": "1-4"}),
    ("variability", "text", 3, {**ADA}),
    ("head2toe", "text", 3, {"layers": "1-4"}),
    ("head2toe", "unit", 4, {"fraction": 0.02}),
    ("ladder", "text", 3, {"reduction": 2, "heads": 2}),
    ("ladder", "unit", 4, {"layers": [1, 2, 5]}),
    ("ensemble", "text", 3, {"members": [{"name": "adalayers", **ADA}, {"name": "probe", "layer": 2}], "weights": [0.3, 0.9]}),
    ("ensemble", "unit", 2, {"members": [{"name": "adalayers", **ADA, "encoder_layers": 2}, "ladder"]}),
]
ROWS = torch.tensor([0, 3, 6, 15])


def some(picked):
    branches = {f"{i} {name}": make(name, level, size, **config) for i, (name, level, size, config) in enumerate(picked)}
    rows = {name: ROWS for name, branch in branches.items() if branch.output.level == "unit"}
    return branches, rows


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(BRANCHES), min_size=1, max_size=8), st.integers(0, 1000))
def test_a_group_equals_its_branches_in_any_mix(picked, seed):
    torch.manual_seed(seed)
    branches, rows = some(picked)
    group = BranchGroup(branches)
    assert group.wanted() == tuple(sorted(set().union(*(branch.wanted() for branch in branches.values()))))
    answers = ride_group(group, states_of(), rows=rows)
    assert list(answers) == list(branches)
    for name, branch in branches.items():
        expected = ride(branch, states_of(), rows=rows.get(name)).detach()
        torch.testing.assert_close(answers[name], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("lengths", [[1], [8, 8, 8], [70, 3, 55]])
def test_batches_of_other_shapes_one_after_the_other(lengths):
    torch.manual_seed(0)
    branches, _ = some(BRANCHES)
    group = BranchGroup(branches)
    layout = Layout(torch.tensor(lengths))
    for seed in range(2):
        states = states_of(layout=layout, seed=seed)
        answers = ride_group(group, states, layout)  # no rows given: all of them
        for name, branch in branches.items():
            torch.testing.assert_close(answers[name], ride(branch, states, layout).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_bf16_products_give_the_same_within_bf16(dtype):
    torch.manual_seed(0)
    branches, rows = some(BRANCHES)
    group = BranchGroup(branches, torch.bfloat16)
    states = states_of(dtype=dtype)
    answers = ride_group(group, states, rows=rows)
    for name, branch in branches.items():
        assert answers[name].dtype == torch.float32
        expected = ride(branch, states.float(), rows=rows.get(name)).detach()
        torch.testing.assert_close(answers[name], expected, rtol=0.05, atol=0.05)
        exact = name.endswith("head2toe")  # its one product a layer is small, and made in float32
        assert torch.equal(answers[name], expected) == exact, "products in bf16 are not exact"


def test_the_precision_is_the_groups_own():
    """Rows in bf16, autocast by the caller and what was read before change nothing in a group that computes in float32."""
    torch.manual_seed(0)
    branches, rows = some(BRANCHES)
    group = BranchGroup(branches)
    expected = ride_group(group, states_of(dtype=torch.bfloat16).float(), rows=rows)
    with torch.autocast("cpu", torch.bfloat16):
        answers = ride_group(group, states_of(dtype=torch.bfloat16), rows=rows)
    for name in branches:
        assert torch.equal(answers[name], expected[name])


def test_only_the_branches_that_read_a_layer_are_computed_there():
    """Two of three branches drop a layer each: the weights of that layer's product hold the other ones only."""
    torch.manual_seed(0)
    branches = {f"layers {i}": make("adalayers", dim=16, heads=4, layers=[0, i], cutoff=0.0) for i in (1, 2, 3)}
    group = BranchGroup(branches)
    sizes = {layer: [tuple(product.weight.shape) for product in products] for layer, products in group.products.items()}
    assert sizes == {0: [(48, 32)], 1: [(16, 32)], 2: [(16, 32)], 3: [(16, 32)]}


def test_a_group_is_a_snapshot_and_frees_what_it_stacked():
    torch.manual_seed(0)
    branch = make("adalayers", **ADA)
    group = BranchGroup({"a": branch})
    before = ride_group(group, states_of())["a"]
    with torch.no_grad():
        branch.projections["3"].add_(1.0).mul_(torch.randn_like(branch.projections["3"]))
    assert torch.equal(ride_group(group, states_of())["a"], before)
    assert not torch.allclose(ride_group(BranchGroup({"a": branch}), states_of())["a"], before)
    alive = weakref.ref(branch)
    del branch
    gc.collect()
    assert alive() is None


def test_no_gradients_and_no_state_between_batches():
    branches, rows = some(BRANCHES)
    group = BranchGroup(branches)
    first = ride_group(group, states_of(), rows=rows)
    group.start(LAYOUT).read(group.wanted()[0], states_of()[group.wanted()[0]])  # a batch that is given up
    again = ride_group(group, states_of(), rows=rows)
    for name in branches:
        assert not first[name].requires_grad
        assert torch.equal(first[name], again[name])


def test_layers_left_out_or_read_twice_are_errors():
    group = BranchGroup({"a": make("adalayers", cutoff=0.0, **ADA)})
    states, batch = states_of(), group.start(LAYOUT)
    for layer in range(6):
        batch.read(layer, states[layer])
    with pytest.raises(ValueError, match=r"layers \[6\] are required but were not read"):
        batch.finish()
    with pytest.raises(ValueError, match="layer 3 was read twice"):
        batch.read(3, states[3])


def test_layers_that_nobody_wants_are_ignored():
    branches = {"a": make("single_layer", layer=2, **ADA), "b": make("probe", layer=4)}
    batch = BranchGroup(branches).start(LAYOUT)
    for layer in range(7):
        batch.read(layer, states_of()[layer])
    answers = batch.finish()
    for name, branch in branches.items():
        torch.testing.assert_close(answers[name], ride(branch, states_of()).detach(), rtol=1e-4, atol=1e-5)


def test_a_group_of_none():
    group = BranchGroup({})
    assert group.wanted() == () and group.start(LAYOUT).finish() == {}


def test_many_branches_are_summed_in_parts(monkeypatch):
    torch.manual_seed(0)
    branches = {str(i): make("adalayers", **ADA, layers=[0, i % 3 + 1], cutoff=0.0) for i in range(7)}
    monkeypatch.setattr("trunkline.branches.normed.AT_ONCE", 3 * 16 * 7)
    answers = ride_group(BranchGroup(branches), states_of())
    for name, branch in branches.items():
        torch.testing.assert_close(answers[name], ride(branch, states_of()).detach(), rtol=1e-4, atol=1e-5)


def test_many_rows_go_through_the_heads_in_parts(monkeypatch):
    torch.manual_seed(0)
    branches = {str(i): make("adalayers", **ADA) for i in range(5)}
    whole = ride_group(BranchGroup(branches), states_of())
    monkeypatch.setattr("trunkline.branches.head_stack.ROWS", 2 * LAYOUT.total)
    parts = ride_group(BranchGroup(branches), states_of())
    for name in branches:
        torch.testing.assert_close(parts[name], whole[name])


def test_a_group_holds_one_sum_per_branch():
    """Whatever the number of layers, what is kept between reads is (N, k) for each branch."""
    trunk = TrunkShape(24, TRUNK.hidden_size)
    group = BranchGroup({str(i): make("adalayers", trunk=trunk, cutoff=0.0, dim=8, heads=2) for i in range(3)})
    states, batch = states_of(trunk), group.start(LAYOUT)
    held = []
    for layer in group.wanted():
        batch.read(layer, states[layer])
        if layer in (0, 24):
            gc.collect()
            tensors = [x for x in gc.get_objects() if type(x) is torch.Tensor]
            held.append(sum(x.numel() for x in tensors if x.shape == (LAYOUT.total, 3, 8)))
    assert held == [LAYOUT.total * 3 * 8] * 2
