"""Texts read in parts: the logits of what was put together are those of the texts read at once."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.branches import BranchGroup, Output, TrunkShape, methods
from trunkline.branches.carried import Carried
from trunkline.branches.group import reads_per_token
from trunkline.errors import BadInput
from trunkline.inputs.batching import Layout

SHAPE = TrunkShape(3, 12)
BRANCHES = {
    "text": ({"name": "adalayers", "dim": 8, "heads": 2}, Output("text", 3)),
    "other": ({"name": "adalayers", "dim": 8, "heads": 2, "layers": [1, 3]}, Output("text", 2)),
    "unit": ({"name": "adalayers", "dim": 8, "heads": 2, "feed_forward": 16}, Output("unit", 5)),
    "single": ({"name": "single_layer", "layer": 2, "dim": 4, "heads": 1, "linear": False}, Output("text", 2)),
    "probe": ({"name": "probe", "pooling": "last"}, Output("text", 2)),
    "mix": ({"name": "scalar_mix"}, Output("unit", 4)),
    "routing": ({"name": "routing", "vectors": 3, "dim": 4}, Output("text", 2)),
    "ensemble": ({"name": "ensemble", "members": ["probe", {"name": "scalar_mix", "pooling": "last"}]}, Output("text", 2)),
}


@pytest.fixture(scope="module")
def group():
    torch.manual_seed(0)
    made = {}
    for name, (config, output) in BRANCHES.items():
        method = methods.get(config["name"])
        made[name] = method(method.Config(**config), SHAPE, output).eval()
        with torch.no_grad():
            for parameter in made[name].parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
    assert all(map(reads_per_token, made.values()))
    return BranchGroup(made)


def states_of(mask, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(SHAPE.num_layers + 1, *mask.shape, SHAPE.hidden_size, generator=generator)


def read(group, states, mask):
    passed = group.start(Layout(mask.sum(1)))
    for layer in group.wanted():
        passed.read(layer, states[layer][mask])
    return passed


def in_parts(group, states, mask, edges):
    carried = Carried(group, len(mask))
    for start, end in pairwise(edges):
        part = slice(start, end)
        if mask[:, part].any():
            carried.add(read(group, states[:, :, part], mask[:, part]), mask[:, part])
    return carried


def equal(found, expected):
    assert found.keys() == expected.keys()
    for name in found:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-5)


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_parts_are_the_whole(group, data):
    texts, tokens = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 7))
    row = st.lists(st.booleans(), min_size=tokens, max_size=tokens)
    mask = torch.tensor(data.draw(st.lists(row, min_size=texts, max_size=texts)))
    mask[:, data.draw(st.integers(0, tokens - 1))] = True
    inner = data.draw(st.sets(st.integers(1, tokens), max_size=3))
    states = states_of(mask)
    carried = in_parts(group, states, mask, sorted({0, tokens} | inner))
    equal(carried.finish(), read(group, states, mask).finish())
    rows = torch.tensor(data.draw(st.lists(st.integers(0, texts - 1), min_size=1, max_size=5)))
    carried.take(rows)
    equal(carried.finish(), read(group, states[:, rows], mask[rows]).finish())


def test_a_text_without_a_token_has_no_logits(group):
    mask = torch.tensor([[True, True], [False, False], [False, True]])
    states = states_of(mask)
    found = in_parts(group, states, mask, [0, 1, 2]).finish()
    equal(found, read(group, states[:, [0, 2]], mask[[0, 2]]).finish())


def test_tokens_can_be_taken_back_where_no_mean_over_them_was_kept(group):
    kept = ("unit", "single", "probe", "mix")
    made = {}
    torch.manual_seed(1)
    for name in kept:
        config, output = BRANCHES[name]
        method = methods.get(config["name"])
        made[name] = method(method.Config(**config), SHAPE, output).eval()
    own, mask = BranchGroup(made), torch.tensor([[False, True, True, True, True], [True] * 5])
    states = states_of(mask)
    carried = in_parts(own, states, mask, [0, 2, 5])
    carried.crop(3)
    equal(carried.finish(), read(own, states[:, :, :3], mask[:, :3]).finish())
    with pytest.raises(BadInput, match="linear: false"):
        in_parts(group, states, mask, [0, 5]).crop(3)
    whole = in_parts(group, states, mask, [0, 5])
    whole.crop(5)  # takes nothing back
    equal(whole.finish(), read(group, states, mask).finish())


def test_a_class_that_reads_otherwise_has_to_declare_it_anew():
    probe = methods.get("probe")

    class Other(probe):
        def read(self, carry, layer, state):
            return super().read(carry, layer, state)

    class Declared(Other):
        per_token = True

    made = [kind(probe.Config(name="probe"), SHAPE, Output("text", 2)) for kind in (probe, Other, Declared)]
    assert [reads_per_token(branch) for branch in made] == [True, False, True]
