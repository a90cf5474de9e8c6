"""Prefix tuning: keys and values written out by hand, the library's own wrapper, padding, and what is refused."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from peft import PrefixTuningConfig, TaskType, get_peft_model
from tiny_zoo import MODELS
from tunertools import apply, frozen, ids, randomise, states, trained

from trunkline.errors import BadInput
from trunkline.trunk.load import load_trunk
from trunkline.tuners.prefix import TAKES_PAST, Prefix, PrefixConfig
from trunkline.tuners.states import TunedStates
from trunkline.tuners.tuned import TunedTrunk

TAKING = [name for name, member in MODELS.items() if member.model_class.config_class.model_type in TAKES_PAST]


@pytest.mark.parametrize("name", TAKING)
def test_states_are_those_of_the_librarys_wrapper(name):
    model = frozen(name)
    tuner, changed = apply(model, "prefix", virtual_tokens=4)
    assert tuner.virtual_tokens == 0
    assert tuner.positions == 4
    library = get_peft_model(
        frozen(name), PrefixTuningConfig(task_type=TaskType.FEATURE_EXTRACTION, num_virtual_tokens=4)
    ).eval()
    (prefix,) = trained(changed).values()
    with torch.no_grad():
        library.prompt_encoder["default"].embedding.weight.copy_(prefix)
    mask = torch.tensor([[1] * 7, [1] * 5 + [0] * 2])
    ours, theirs = (states(m, input_ids=ids(), attention_mask=mask) for m in (changed, library))
    torch.testing.assert_close(ours[mask.bool()], theirs[mask.bool()])
    changed(input_ids=ids(), attention_mask=mask, use_cache=False).last_hidden_state.square().sum().backward()
    assert (prefix.grad.abs() > 0).float().mean() > 0.9  # every key and value of every block is used


def test_the_first_block_attends_as_written_out():
    model = frozen("bert", num_hidden_layers=1)
    _, changed = apply(model, "prefix", virtual_tokens=4)
    randomise(changed)
    (prefix,) = trained(changed).values()
    key, value = prefix.view(4, 2, 4, 8).permute(1, 2, 0, 3)  # heads, tokens, width
    attention, seen = changed.model.encoder.layer[0].attention.self, []
    attention.register_forward_hook(lambda module, args, kwargs, output: seen.append((args, kwargs, output)), with_kwargs=True)
    states(changed)
    args, kwargs, output = seen[0]
    x = args[0] if args else kwargs["hidden_states"]

    def heads(y: torch.Tensor) -> torch.Tensor:
        return y.view(2, 7, 4, 8).transpose(1, 2)

    q, k, v = (heads(layer(x)) for layer in (attention.query, attention.key, attention.value))
    k, v = (torch.cat((before.expand(2, -1, -1, -1), own), 2) for before, own in ((key, k), (value, v)))
    weights = F.softmax(q @ k.mT / 8**0.5, -1)
    torch.testing.assert_close(output[0], (weights @ v).transpose(1, 2).reshape(2, 7, 32))


@pytest.mark.parametrize("name", TAKING)
def test_padding_changes_nothing(zoo, tmp_path, name):
    trunk = load_trunk(zoo(name), dtype="fp32", device="cpu")
    tuned = TunedTrunk(trunk, Prefix(PrefixConfig(virtual_tokens=3)), "fp32").eval()
    encoded = trunk.encode(["the film was good", "a", "i feel happy today"])
    top = trunk.num_layers
    feed, found = TunedStates(tuned, encoded), {}

    def rows(sequences: list[int]) -> torch.Tensor:
        with torch.no_grad():
            feed.feed(sequences, (top,), found.__setitem__)
        return found[top]

    torch.testing.assert_close(rows([0, 1, 2]), torch.cat([rows([i]) for i in range(3)]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", sorted(set(MODELS) - set(TAKING)))
def test_an_attention_that_takes_none_is_refused(name):
    with pytest.raises(BadInput, match="accepts no external keys and values"):
        apply(frozen(name), "prefix")


def test_too_many_for_the_positions_are_refused():
    with pytest.raises(BadInput, match="at most 64 in all"):
        apply(frozen("gpt2"), "prefix", virtual_tokens=64)
