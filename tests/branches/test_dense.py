"""The padded form of branches has the logits of the packed one, whatever a batch holds beside a text."""

from __future__ import annotations

import pytest
import torch
from riding import LAYOUT, TRUNK, make, ride_group, states_of

from trunkline.branches import BranchGroup
from trunkline.branches.adalayers import AdaLayers
from trunkline.branches.dense import DenseGroup
from trunkline.branches.probe import Probe
from trunkline.errors import BadInput

ADA = {"dim": 16, "heads": 4, "feed_forward": 24}
TEXT = {
    "attention": ("adalayers", ADA),
    "cut": ("adalayers", {**ADA, "cutoff": 0.13}),
    "some layers": ("adalayers", {**ADA, "layers": "1-3", "alpha": 1.0}),
    "encoder": ("adalayers", {**ADA, "head": "encoder", "encoder_layers": 2, "positions": True, "linear": False}),
    "relu": ("adalayers", {**ADA, "head": "encoder", "feed_forward_activation": "relu", "activation": "tanh"}),
    "positions first": ("adalayers", {**ADA, "positions": True, "positions_first": True}),
    "linear": ("adalayers", {**ADA, "head": "linear", "activation": "none"}),
    "single": ("single_layer", {**ADA, "layer": 2}),
    "lowest nu": ("variability", {**ADA, "layers": "1-4"}),
    "features": ("head2toe", {"normalisation": "per_feature"}),
    "features of the last": ("head2toe", {"pooling": "last", "fraction": 0.02}),
    "mix": ("scalar_mix", {}),
    "normed mix": ("scalar_mix", {"layer_norm": True, "layers": [0, 4]}),
    "cls": ("scalar_mix", {"pooling": "cls"}),
    "last": ("probe", {"layer": 3, "pooling": "last"}),
    "probe": ("probe", {}),
    "ladder": ("ladder", {"reduction": 2, "heads": 4}),
    "some rungs": ("ladder", {"layers": [1, 4, 5]}),
    "last rung": ("ladder", {"pooling": "last"}),
    "routing": ("routing", {"vectors": 4, "dim": 6}),
    "ensemble": ("ensemble", {"members": [{"name": "adalayers", **ADA}, "probe", "ladder"], "weights": [0.5, 0.2, 0.9]}),
    "some routed": ("routing", {"layers": "2-4", "iterations": 3}),
}
UNIT = {name: value for name, value in TEXT.items() if name not in ("cls", "last", "features of the last", "last rung")}


def branches(level):
    torch.manual_seed(3)
    names = TEXT if level == "text" else UNIT
    return {name: make(method, level, size=2 + i % 3, **own) for i, (name, (method, own)) in enumerate(names.items())}


def padded(states, layout, longest=None):
    """(layers, B, T, K) with numbers on the padding that must not count, and the mask."""
    more = (longest or layout.longest) - layout.longest
    made = [torch.nn.functional.pad(layout.pad(one), (0, 0, 0, more)) for one in states]
    mask = torch.nn.functional.pad(layout.mask, (0, more))
    return {i: torch.where(mask[..., None], one, 50.0) for i, one in enumerate(made)}, mask


@torch.no_grad()
@pytest.mark.parametrize("level", ["text", "unit"])
@pytest.mark.parametrize("longest", [None, 12])
@pytest.mark.parametrize("alone", [True, False])
def test_logits_are_those_of_packed_rows(level, longest, alone):
    made, states = branches(level), states_of()
    expected = ride_group(BranchGroup(made), states)
    found = {}
    for some in [{name: one} for name, one in made.items()] if alone else [made]:
        found |= DenseGroup(some, 64)(*padded(states, LAYOUT, longest))
    if not alone:
        assert list(found) == list(expected) and DenseGroup(made, 64).wanted() == BranchGroup(made).wanted()
        assert max(stack.count for stack in BranchGroup(made).stacks) > 1, "branches of one shape are one"
    for name, logits in found.items():
        own = logits if level == "text" else logits[:, : LAYOUT.longest][LAYOUT.mask]
        torch.testing.assert_close(own, expected[name], rtol=1e-5, atol=1e-5, msg=lambda text, at=name: f"{at}: {text}")


def test_a_class_that_changes_what_it_reads_or_finishes_has_no_padded_form():
    class Twice(Probe):
        def read(self, carry, layer, state):
            return state.rows * 2

    class Negative(AdaLayers):
        def finish(self, carry, layout, rows=None):
            return -super().finish(carry, layout, rows)

    for kind, method in ((Twice, "probe"), (Negative, "adalayers")):
        own = make(method)
        changed = kind(own.config, TRUNK, own.output)
        with pytest.raises(BadInput, match=f"branch 'mine': {kind.__name__} has no padded form"):
            DenseGroup({"other": own, "mine": changed}, 8)
