"""Any method of the peft library by name: what runs, what is refused before training, and the trunk left as it was."""

from __future__ import annotations

import pytest
import torch
from peft import PeftType
from tunertools import apply, frozen, randomise, states, trained

from trunkline.errors import BadInput
from trunkline.trunk.load import load_trunk
from trunkline.tuners.peft import REFUSED, Peft, PeftConfigSection
from trunkline.tuners.tuned import TunedTrunk

# What the library's own settings do not fit on blocks 32 wide.
NEEDED = {
    "C3A": {"block_size": 8},
    "MISS": {"r": 4},
    "PROMPT_TUNING": {"num_virtual_tokens": 3},
    "P_TUNING": {"num_virtual_tokens": 3},
    "PREFIX_TUNING": {"num_virtual_tokens": 3},
    "ROAD": {"group_size": 16},
    "SHIRA": {"r": 4},
    "TRAINABLE_TOKENS": {"token_indices": [2, 3]},  # those that begin and end a text
    "UNILORA": {"theta_d_length": 64},
    "VBLORA": {"vector_length": 16, "num_vectors": 8},
    "WAVEFT": {"n_frequency": 64},
    "BOFT": {"boft_block_size": 4},
    "OFT": {"oft_block_size": 8},
    "PSOFT": {"r": 4},
}
METHODS = sorted({kind.name for kind in PeftType} - REFUSED.keys())


@pytest.mark.parametrize("method", METHODS)
def test_a_method_trains_and_reloads_and_leaves_the_trunk_alone(zoo, tmp_path, method):
    trunk = load_trunk(zoo("bert"), dtype="fp32", device="cpu")
    held = {name: value.clone() for name, value in trunk.model.state_dict().items()}

    def tuned(seed: int) -> TunedTrunk:
        torch.manual_seed(seed)
        return TunedTrunk(trunk, Peft(PeftConfigSection(method=method, parameters=NEEDED.get(method, {}))), "fp32").eval()

    first, second = tuned(1), tuned(2)
    randomise(first.model)
    inputs = trunk.collate(trunk.encode(["the film was good"]), [0])

    def answer(changed: TunedTrunk) -> torch.Tensor:
        return changed.model(**inputs).last_hidden_state

    answer(first).square().sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in trained(first.model).values())
    assert not torch.allclose(answer(first), answer(second)[:, -answer(first).shape[1] :], atol=1e-4)
    with torch.no_grad():  # as a branch is loaded: what is stored goes into a trunk that was changed anew
        for name, value in second.own().items():
            value.copy_(first.own()[name])
    torch.testing.assert_close(answer(second), answer(first))
    for name, value in trunk.model.state_dict().items():
        assert torch.equal(value, held[name])
    shared = {p.data_ptr() for p in trunk.model.parameters()}
    assert sum(p.data_ptr() in shared for p in first.model.parameters()) >= len(shared) - len(first.own())


@pytest.mark.parametrize("method", ["LOHA", "LOKR", "VERA", "OFT"])
def test_merging(method):
    model = frozen("bert")
    tuner, changed = apply(model, "peft", method=method, parameters=NEEDED.get(method, {}))
    randomise(changed)
    learned, held = states(changed), {name: value.clone() for name, value in model.state_dict().items()}
    torch.testing.assert_close(states(tuner.merge(changed)), learned, rtol=1e-4, atol=1e-4)
    for name, value in model.state_dict().items():
        assert torch.equal(value, held[name])


def test_what_writes_into_weights_writes_into_its_own():
    model = frozen("bert")
    held = {name: value.clone() for name, value in model.state_dict().items()}
    _, changed = apply(model, "peft", method="LORA", parameters={"init_lora_weights": "olora", "r": 4})
    layer = changed.encoder.layer[0].attention.self.query
    assert not torch.equal(layer.base_layer.weight, model.encoder.layer[0].attention.self.query.weight)
    assert changed.embeddings.word_embeddings.weight.data_ptr() == model.embeddings.word_embeddings.weight.data_ptr()
    for name, value in model.state_dict().items():
        assert torch.equal(value, held[name])


def test_what_the_library_types_too_narrowly_is_taken():
    tuner, _ = apply(frozen("bert"), "peft", method="loha", parameters={"alpha": 0.5, "r": 2})
    assert tuner.peft_config.alpha == 0.5


def test_targets_are_named_as_elsewhere():
    _, changed = apply(frozen("bert"), "peft", method="loha", parameters={"target_modules": "qv", "r": 2})
    assert {name.split(".")[-3] for name in trained(changed)} == {"query", "value"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"method": "LORRA"}, "method.method: unknown name 'LORRA'; did you mean 'LORA'"),
        ({"method": "XLORA"}, "XLORA cannot be trained, as it combines previously"),
        ({"method": "adalora"}, "ADALORA cannot be trained"),
        ({"method": "LOHA", "parameters": {"alhpa": 2}}, "method.parameters.alhpa: unknown name 'alhpa'; did you mean 'alpha'"),
        ({"method": "LOHA", "parameters": {"target_modules": ["qury"]}}, "target_modules: unknown name 'qury'"),
        ({"method": "LOHA", "parameters": {"target_modules": ["LayerNorm"]}}, "LOHA: refused by the peft library"),
        ({"method": "LOHA", "parameters": {"r": 0}}, "LOHA: refused by the peft library"),
        ({"method": "P_TUNING"}, "method.parameters.num_virtual_tokens: missing, expected a whole number from 1"),
        ({"method": "P_TUNING", "parameters": {"num_virtual_tokens": 0}}, "num_virtual_tokens: found 0, expected a whole n"),
        ({"method": "LHOA"}, "method.method: unknown name 'LHOA'; did you mean 'LOHA'"),
        ({"method": "LOHA", "parameters": {"r": "x"}}, "method.parameters.r: found 'x', expected a whole number"),
        ({"method": "LOHA", "parameters": {"r": 2.5}}, "method.parameters.r: found 2.5, expected a whole number"),
        ({"method": "LOHA", "parameters": {"r": [2]}}, "method.parameters.r: found a list, expected a whole number"),
        (
            {"method": "LOHA", "parameters": {"rank_dropout": "x"}},
            "method.parameters.rank_dropout: found 'x', expected a number",
        ),
        ({"method": "LOHA", "parameters": {"init_weights": "no"}}, "init_weights: found 'no', expected true or false"),
        (
            {"method": "P_TUNING", "parameters": {"num_virtual_tokens": True}},
            "num_virtual_tokens: found true, expected a whole n",
        ),
        ({"method": "LOHA", "parameters": {"r": True}}, "method.parameters.r: found true, expected a whole number"),
        ({"method": "PROMPT_TUNING", "parameters": {"token_dim": 4}}, "unknown name 'token_dim'"),
        ({"method": "C3A", "parameters": {"block_size": 7}}, "C3A: refused by the peft library"),
    ],
)
def test_bad_input_is_one_sentence_before_training(config, message):
    with pytest.raises(BadInput, match=message) as error:
        apply(frozen("bert"), "peft", **config)
    assert "\n" not in str(error.value)
