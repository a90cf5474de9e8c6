"""Gradient checkpointing: the same gradients, from less that is kept. Compared with the pass that keeps everything."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_zoo import MODELS

from trunkline.branches import TrunkShape, methods
from trunkline.errors import BadInput
from trunkline.seeding import seeded
from trunkline.trunk.load import load_trunk
from trunkline.tuners import TunedTrunk

METHODS = {
    "full": {},
    "top": {"name": "full", "top": 1},
    "bitfit": {},
    "layernorm": {},
    "lora": {"r": 4},
    "dora": {"name": "lora", "r": 4, "dora": True},
    "ia3": {},
    "prompt": {"virtual_tokens": 4},
    "loha": {"name": "peft", "method": "LOHA", "parameters": {"r": 4}},
    "adapter": {"reduction": 2},
    "houlsby": {"name": "adapter", "variant": "houlsby", "reduction": 2},
}
CANNOT = {"albert", "albert-groups", "mpnet"}  # whose blocks transformers has no gradient checkpointing for


def tuned(folder, name: str, section: dict, recomputed: bool, stack: str = "encoder") -> TunedTrunk:
    trunk = load_trunk(folder, dtype="fp32", device="cpu", stack=stack)
    section = {"name": name} | section
    method = methods.get(section["name"])
    with seeded(0, "weights"):
        made = TunedTrunk(trunk, method(method.Config(**section)), "fp32")
    if recomputed:
        made.recompute()
    for parameter in made.own().values():  # what begins at zero would have few gradients
        if parameter.requires_grad and not parameter.any():
            torch.nn.init.normal_(parameter.data, std=0.1, generator=torch.Generator().manual_seed(parameter.numel()))
    return made


def loss(made: TunedTrunk, layers: list[int]) -> torch.Tensor:
    """Of a pass that drops what the model drops, over three texts."""
    feed = made.trial(TrunkShape(made.num_layers, made.hidden_size), np.array([5, 9, 3]))
    found = []
    made.train()
    with seeded(1, "dropout"):
        feed.feed(
            np.arange(3), layers, lambda layer, rows: found.append((rows - rows.roll(1, -1)).tanh().square().mean() * layer)
        )
        total = torch.stack(found).sum()
    return total


def gradients(made: TunedTrunk, layers: list[int]) -> dict[str, torch.Tensor]:
    loss(made, layers).backward()
    return {name: p.grad for name, p in made.own().items() if p.grad is not None}


def compare(folder, name: str, section: dict, layers: list[int], stack: str = "encoder") -> None:
    plain = gradients(tuned(folder, name, section, False, stack), layers)
    saving = gradients(tuned(folder, name, section, True, stack), layers)
    assert plain.keys() == saving.keys() and any(value.any() for value in plain.values())
    for key, value in plain.items():
        torch.testing.assert_close(saving[key], value, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_gradients_of_a_method_are_the_same(name, tiny_trunk_dir):
    compare(tiny_trunk_dir, name, METHODS[name], [1, 2, 3])


@pytest.mark.parametrize("name", ["full", "lora"])
def test_a_pass_that_ends_below_the_last_block(name, tiny_trunk_dir):
    compare(tiny_trunk_dir, name, METHODS[name], [2])


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(MODELS))
def test_gradients_of_an_architecture_are_the_same_or_it_is_refused(name, zoo):
    if name in CANNOT:
        with pytest.raises(BadInput, match="transformers cannot recompute the blocks of"):
            tuned(zoo(name), "full", {}, True)
        return
    compare(zoo(name), "full", {}, [1, 2])


def kept_bytes(made: TunedTrunk) -> int:
    """What a pass keeps for the way back: tensors that autograd saves, each storage once, and none that is a weight."""
    weights = {p.untyped_storage().data_ptr() for p in made.parameters()}
    kept: dict[int, int] = {}
    held = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
            held.append(tensor)  # so that its memory is not taken by another
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss(made, [made.num_layers]).backward()
    return sum(kept.values())


def test_less_is_kept_for_the_way_back(tiny_trunk_dir):
    """Beside what is saved outside of blocks, a block's input is kept, which no hook sees: (tokens, width) in float32."""
    everything = kept_bytes(tuned(tiny_trunk_dir, "full", {}, False))
    made = tuned(tiny_trunk_dir, "full", {}, True)
    inputs = made.num_layers * 3 * 9 * made.hidden_size * 4  # three texts, padded to the longest
    assert kept_bytes(made) + inputs < everything / 2


@pytest.mark.parametrize(
    ("name", "section"),
    [("prefix", {"virtual_tokens": 4}), ("peft", {"method": "PREFIX_TUNING", "parameters": {"num_virtual_tokens": 4}})],
)
def test_what_gives_blocks_keys_from_outside_is_refused(name, section, tiny_trunk_dir):
    with pytest.raises(BadInput, match=r"found true, expected false: method .* keys and values from outside"):
        tuned(tiny_trunk_dir, name, section, True)
