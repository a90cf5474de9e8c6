from __future__ import annotations

import threading
import weakref

import pytest
import torch
import transformers as hf
from tiny_zoo import build

from trunkline.errors import BadInput
from trunkline.trunk.architectures import ARCHITECTURES
from trunkline.trunk.stream import run_layers

TEXTS = [
    "a film was great",
    "the list to my book table for two in paris tomorrow rain sun today we feel not so sad, and very happy with it",
    "so",
    "add a song to the list",
]
BLOCKS = {
    "BertLayer", "RobertaLayer", "XLMRobertaLayer", "TransformerBlock", "ElectraLayer", "MPNetLayer", "DebertaV2Layer",
    "AlbertLayer", "ModernBertEncoderLayer", "T5Block", "GPT2Block", "LlamaDecoderLayer", "Qwen2DecoderLayer",
    "Qwen3DecoderLayer",
}  # fmt: skip
BARTS = {
    "encoder": {"BartEncoderLayer", "MBartEncoderLayer"},
    "decoder": {"BartDecoderLayer", "MBartDecoderLayer"},
}
FINAL_NORM = {"modernbert", "mbart", "t5", "gpt2", "gpt2-left", "llama", "qwen2", "qwen3"}


def batch_of(trunk, texts=TEXTS):
    encoded = trunk.encode(texts)
    return trunk.collate(encoded, range(len(texts)))


def states_of(trunk, inputs, layers=None):
    got = {}
    run_layers(trunk, inputs, range(trunk.num_layers + 1) if layers is None else layers, got.__setitem__)
    return got


def states_by(model, name, stack, inputs):
    """The library's own states of a model with every stack that it has."""
    if stack == "encoder" and name in ("bart", "mbart"):
        model = model.get_encoder()
    if stack == "decoder" and name == "t5":  # the only one that does not give its decoder the text by itself
        ids = inputs["input_ids"]
        inputs = {**inputs, "decoder_input_ids": torch.cat([torch.zeros_like(ids[:, :1]), ids[:, :-1]], 1)}
    with torch.no_grad():
        out = model(**inputs, output_hidden_states=True)
    return out.decoder_hidden_states if stack == "decoder" else out.hidden_states


def library_states(name, stack, inputs):
    """Of a model made in memory with the weights that were written for the trunk."""
    model = build(name, model_class=hf.T5ForConditionalGeneration if name == "t5" else None)
    return states_by(model.get_encoder() if (name, stack) == ("t5", "encoder") else model, name, stack, inputs)


def hooks_on(model) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_the_zoo_holds_every_architecture_that_reads_texts(tiny_trunk):
    from tiny_zoo import MODELS

    assert {tiny_trunk(name).architecture for name in MODELS} == {
        name for name, row in ARCHITECTURES.items() if row.front is None
    }


def test_state_i_is_the_librarys_hidden_state_i(tiny_trunk, any_stack):
    trunk = tiny_trunk(*any_stack)
    inputs = batch_of(trunk)
    expected = library_states(*any_stack, inputs)
    got = states_of(trunk, inputs)
    assert list(got) == list(range(len(expected)))
    for layer, state in enumerate(expected):
        assert torch.equal(got[layer], state), f"layer {layer}"
        assert state.shape == (len(TEXTS), inputs["input_ids"].shape[1], trunk.hidden_size)


def test_any_subset_of_layers_gives_the_same_states_in_rising_order(tiny_trunk, any_stack):
    trunk = tiny_trunk(*any_stack)
    inputs = batch_of(trunk)
    full = states_of(trunk, inputs)
    for layers in ([0], [1], [trunk.num_layers], [2, 0], {1, trunk.num_layers}):
        got = states_of(trunk, inputs, layers)
        assert list(got) == sorted(layers)
        assert all(torch.equal(got[i], full[i]) for i in layers)


def test_the_pass_stops_at_the_deepest_wanted_layer(tiny_trunk, any_stack, monkeypatch):
    name, stack = any_stack
    trunk = tiny_trunk(name, stack)
    inputs = batch_of(trunk)
    ran = []

    def count(module, word):
        forward = module.forward
        monkeypatch.setattr(module, "forward", lambda *a, **k: ran.append(word) or forward(*a, **k))

    for module in (trunk.model.decoder if (name, stack) == ("t5", "decoder") else trunk.model).modules():
        if type(module).__name__ in BLOCKS | BARTS[stack]:
            count(module, "block")
    if name in FINAL_NORM:
        count(trunk.taps.states[-1], "norm")
    for deepest in range(trunk.num_layers + 1):
        ran.clear()
        states_of(trunk, inputs, [deepest])
        assert ran.count("block") == deepest
        assert ran.count("norm") == (name in FINAL_NORM and deepest == trunk.num_layers)
    ran.clear()
    states_of(trunk, inputs, [])
    assert not ran


def test_padding_changes_a_real_token_only_by_rounding(tiny_trunk, any_stack):
    trunk = tiny_trunk(*any_stack)
    encoded = trunk.encode(TEXTS)
    together = trunk.collate(encoded, range(len(TEXTS)))
    assert not together["attention_mask"].all()
    batch = states_of(trunk, together)
    for row in range(len(TEXTS)):
        alone = states_of(trunk, trunk.collate(encoded, [row]))
        real = together["attention_mask"][row].bool()
        for layer, state in alone.items():
            torch.testing.assert_close(batch[layer][row][real], state[0], rtol=1e-4, atol=1e-5 * float(state.abs().max()))


@pytest.mark.parametrize("name", ["gpt2-left"])
def test_the_padding_test_would_see_wrong_positions(tiny_trunk, name):
    trunk = tiny_trunk(name)
    encoded = trunk.encode(TEXTS)
    together = trunk.collate(encoded, [1, 2])
    del together["position_ids"]
    batch, alone = states_of(trunk, together, [1])[1], states_of(trunk, trunk.collate(encoded, [2]), [1])[1]
    assert not torch.allclose(batch[1][together["attention_mask"][1].bool()], alone[0], atol=1e-2)


def test_bfloat16_states_are_those_of_the_library_in_bfloat16(zoo, tiny_trunk, any_stack):
    name, stack = any_stack
    trunk = tiny_trunk(name, stack, "bf16")
    inputs = batch_of(trunk)
    kind = hf.T5EncoderModel if (name, stack) == ("t5", "encoder") else hf.AutoModel
    expected = states_by(kind.from_pretrained(zoo(name), dtype=torch.bfloat16), name, stack, inputs)
    for layer, state in states_of(trunk, inputs).items():
        assert state.dtype == torch.bfloat16
        assert torch.equal(state, expected[layer]), f"layer {layer}"


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "modernbert", "bart"])
def test_no_state_is_held(tiny_trunk, name):
    trunk = tiny_trunk(name)
    seen: dict[int, weakref.ref] = {}

    def receive(layer, state):
        seen[layer] = weakref.ref(state)
        # The model itself keeps state 0 in a variable of its forward, and a block's input until it is done.
        assert all(ref() is None for older, ref in seen.items() if 0 < older < layer - 1)

    run_layers(trunk, batch_of(trunk), range(trunk.num_layers + 1), receive)
    assert len(seen) == trunk.num_layers + 1
    assert all(ref() is None for ref in seen.values())


def test_a_branch_can_be_trained_within_receive(tiny_trunk):
    trunk = tiny_trunk("bert")
    weight = torch.zeros(trunk.hidden_size, requires_grad=True)
    losses = []

    def receive(layer, state):
        assert not state.requires_grad
        losses.append((state * weight).sum())

    run_layers(trunk, batch_of(trunk), [1, 3], receive)
    sum(losses).backward()
    expected = sum(s.sum((0, 1)) for s in states_of(trunk, batch_of(trunk), [1, 3]).values())
    torch.testing.assert_close(weight.grad, expected)
    with torch.no_grad():
        run_layers(trunk, batch_of(trunk), [1], lambda i, s: losses.append(s * weight))
    assert not losses[-1].requires_grad
    assert all(not p.requires_grad and p.grad is None for p in trunk.model.parameters())


@pytest.mark.parametrize("layer", [-1, 4, 1.5, "1"])
def test_a_layer_that_is_not_there_is_refused(tiny_trunk, layer):
    trunk = tiny_trunk("bert")
    with pytest.raises(BadInput, match="expected 0 to 3"):
        states_of(trunk, batch_of(trunk), [layer])


def test_an_error_in_receive_comes_through_and_passes_leave_the_hooks_alone(tiny_trunk):
    trunk = tiny_trunk("albert")
    before = hooks_on(trunk.model)  # put there when it was loaded: no pass adds or removes one

    def receive(layer, state):
        assert hooks_on(trunk.model) == before
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run_layers(trunk, batch_of(trunk), [1, 2], receive)
    assert hooks_on(trunk.model) == before
    states_of(trunk, batch_of(trunk))
    assert hooks_on(trunk.model) == before


def test_threads_share_one_trunk(tiny_trunk):
    trunk = tiny_trunk("albert-groups")  # its blocks run several times a pass, so a mixed-up count would show
    batches = [batch_of(trunk, [text]) for text in TEXTS]
    expected = [states_of(trunk, inputs) for inputs in batches]
    wrong = []

    def work(which):
        for _ in range(15):
            got = states_of(trunk, batches[which])
            if list(got) != list(expected[which]) or not all(torch.equal(got[i], expected[which][i]) for i in got):
                wrong.append(which)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(TEXTS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
