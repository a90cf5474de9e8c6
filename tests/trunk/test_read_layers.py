"""read_layers: a user's own model, with whatever head, gives the same bits with and without it."""

from __future__ import annotations

import contextvars
import copy
import sys
import threading

import pytest
import torch
import transformers as hf
from tiny_zoo import MODELS, build, tokenizer_of
from torch import nn

from trunkline.errors import BadInput
from trunkline.trunk.stream import read_layers

TEXTS = ["a film was great", "play the list of rain and sun to my paris table", "so"]
HEADS = [
    (name, table)
    for name in MODELS
    for table in (hf.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, hf.MODEL_FOR_MASKED_LM_MAPPING, hf.MODEL_FOR_CAUSAL_LM_MAPPING)
    if MODELS[name].model_class.config_class in table
    and not (name in ("bart", "mbart") and table is hf.MODEL_FOR_CAUSAL_LM_MAPPING)  # a decoder alone: tested below
]


def head_model(name, table):
    config = {"pad_token_id": 0} if name in ("gpt2", "gpt2-left", "llama", "qwen2", "qwen3") else {}
    return build(name, model_class=table[MODELS[name].model_class.config_class], **config)


def inputs_for(name, texts=TEXTS):
    tokenizer = tokenizer_of(name)
    ids = tokenizer(list(texts))["input_ids"]
    width = max(map(len, ids))
    left = tokenizer.padding_side == "left"
    pad = tokenizer.pad_token_id or 0
    rows = [[pad] * (width - len(i)) + i if left else i + [pad] * (width - len(i)) for i in ids]
    masks = [[0] * (width - len(i)) + [1] * len(i) if left else [1] * len(i) + [0] * (width - len(i)) for i in ids]
    return {"input_ids": torch.tensor(rows), "attention_mask": torch.tensor(masks)}


def tensors_in(value):
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = value.values()
    return (
        [t for part in value for t in tensors_in(part)]
        if isinstance(value, (tuple, list)) or hasattr(value, "__iter__")
        else []
    )


def same_bits(left, right) -> bool:
    left, right = tensors_in(left), tensors_in(right)
    return len(left) == len(right) > 0 and all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def hooks_on(model) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize(("name", "table"), HEADS, ids=lambda v: v if isinstance(v, str) else v.__class__.__name__)
def test_outputs_are_those_of_the_bare_model(name, table):
    model, inputs = head_model(name, table), inputs_for(name)
    with torch.no_grad():
        bare = model(**inputs)
        plain = model(**inputs, output_hidden_states=True)
        states = plain.get("hidden_states") or plain.get("encoder_hidden_states")
        before, got = hooks_on(model), {}  # those of transformers, which stay once states were asked for
        with read_layers(model, range(len(states)), got.__setitem__):
            ridden = model(**inputs)
        assert hooks_on(model) == before
        after = model(**inputs)
    assert ridden.keys() == bare.keys()
    assert same_bits(ridden, bare) and same_bits(after, bare)
    assert list(got) == list(range(len(states)))
    assert all(torch.equal(got[i], state) for i, state in enumerate(states))


@pytest.mark.parametrize("name", ["bart", "mbart", "t5"])
def test_either_stack_of_an_encoder_decoder(name):
    model = build(name, model_class=hf.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING[MODELS[name].model_class.config_class])
    inputs, encoder, decoder = inputs_for(name), {}, {}
    inputs["decoder_input_ids"] = inputs["input_ids"][:, :4]
    with torch.no_grad():
        bare = model(**inputs, output_hidden_states=True)
        with (
            read_layers(model, range(4), encoder.__setitem__),
            read_layers(model, range(3), decoder.__setitem__, stack="decoder"),
        ):
            ridden = model(**inputs, output_hidden_states=True)
    assert same_bits(ridden.logits, bare.logits)
    assert same_bits(list(encoder.values()), bare.encoder_hidden_states)
    assert same_bits(list(decoder.values()), bare.decoder_hidden_states)


def test_a_decoder_alone_has_no_encoder():
    model = build("bart", model_class=hf.BartForCausalLM)
    inputs, got = inputs_for("bart"), {}
    with pytest.raises(BadInput, match="no such stack"), read_layers(model, [1], print):
        pass
    with torch.no_grad(), read_layers(model, [1, 2], got.__setitem__, stack="decoder"):
        states = model(**inputs, output_hidden_states=True).hidden_states
    assert torch.equal(got[1], states[1]) and torch.equal(got[2], states[2])


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable:FutureWarning")
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", ["bert", "albert", "t5", "gpt2"])
def test_training_is_left_alone(name, checkpointing):
    """Same dropout, loss and gradients; each pass hands out each layer once, though checkpointing runs blocks twice."""
    gradients, counts = [], []
    for attached in (False, True):
        model = head_model(name, hf.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING)
        if checkpointing:
            if not model.supports_gradient_checkpointing:
                pytest.skip("the library cannot checkpoint this model")
            model.gradient_checkpointing_enable()
        model.train()
        torch.manual_seed(1)
        inputs = {**inputs_for(name), "labels": torch.tensor([0, 1, 0])}

        def receive(layer, state):
            assert not state.requires_grad
            counts.append(layer)

        if attached:
            with read_layers(model, [1, 2], receive):
                model(**inputs).loss.backward()
        else:
            model(**inputs).loss.backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert same_bits(*gradients)
    assert counts == [1, 2]


def test_generation_hands_out_every_step():
    model = build("gpt2", model_class=hf.GPT2LMHeadModel)
    inputs = {key: value[:1] for key, value in inputs_for("gpt2").items()}
    settings = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    bare = model.generate(**inputs, **settings)
    lengths = []
    with read_layers(model, [2], lambda _, state: lengths.append(state.shape[1])):
        assert torch.equal(model.generate(**inputs, **settings), bare)
    assert lengths == [inputs["input_ids"].shape[1], 1, 1, 1, 1]


def test_a_model_within_another_librarys_wrapper():
    class Wrapper(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, **inputs):
            return self.inner(**inputs).last_hidden_state.mean(1)

    model, inputs, got = Wrapper(build("bert")), inputs_for("bert"), {}
    with torch.no_grad(), read_layers(model, [3], got.__setitem__):
        out = model(**inputs)
    assert torch.equal(got[3].mean(1), out)


def test_what_is_not_known_is_refused():
    with (
        pytest.raises(BadInput, match=r"unknown architecture; expected one of bert, roberta"),
        read_layers(nn.Linear(2, 2), [1], print),
    ):
        pass
    with pytest.raises(BadInput, match="bert has encoder only"), read_layers(build("bert"), [1], print, stack="decoder"):
        pass
    with pytest.raises(BadInput, match=r"layer 4.*expected 0 to 3"), read_layers(build("bert"), [4], print):
        pass


def test_nobody_listens_after_an_error_in_the_block():
    model, got = build("bert"), {}
    with pytest.raises(KeyError), read_layers(model, [0, 1], got.__setitem__):
        raise KeyError
    with torch.no_grad():
        model(**inputs_for("bert"))
    assert not got


def test_a_pass_that_failed_does_not_disturb_the_next():
    model, inputs, got = build("bert"), inputs_for("bert"), {}

    def fail(module, args):
        raise ValueError("mine")

    with torch.no_grad(), read_layers(model, [0, 2], got.__setitem__):
        handle = model.encoder.layer[1].register_forward_pre_hook(fail)
        with pytest.raises(ValueError, match="mine"):
            model(**inputs)
        handle.remove()
        assert list(got) == [0]
        got.clear()
        states = model(**inputs, output_hidden_states=True).hidden_states
    assert torch.equal(got[0], states[0]) and torch.equal(got[2], states[2])


def test_a_receiver_may_run_the_model_itself():
    model, inputs, got, inner = build("bert"), inputs_for("bert"), [], inputs_for("bert", ["so"])

    def receive(layer, state):
        got.append((layer, len(state)))
        model(**inner)

    with torch.no_grad(), read_layers(model, [1, 2], receive):
        model(**inputs)
    assert got == [(1, len(TEXTS)), (2, len(TEXTS))]


def test_a_copy_of_a_model_is_listened_to_by_itself():
    model, inputs, got, others = build("bert"), inputs_for("bert"), [], []
    with read_layers(model, [1], lambda layer, state: got.append(layer)):
        twin = copy.deepcopy(model)
        with torch.no_grad(), read_layers(twin, [0, 3], lambda layer, state: others.append(layer)):
            twin(**inputs)
            model(**inputs)
    assert (got, others) == ([1], [0, 3])


def test_attaching_does_not_disturb_the_passes_of_other_threads():
    """While some threads run passes, to their end or not, others attach and go, to layer 0 too."""
    model = build("albert-groups")
    batches = [inputs_for("albert-groups", [text]) for text in TEXTS]
    with torch.no_grad():
        expected = [model(**b, output_hidden_states=True).hidden_states for b in batches]
    wrong, interval = [], sys.getswitchinterval()

    def work(which, attached):
        try:
            for turn in range(40):
                got = {}
                with torch.no_grad():
                    if attached:
                        with read_layers(model, [0, *range(turn % 9)], got.__setitem__):
                            model(**batches[which])
                    else:
                        out = model(**batches[which])
                        got = {8: out.last_hidden_state}
                if not got or not all(torch.equal(state, expected[which][i]) for i, state in got.items()):
                    wrong.append(which)
        except Exception as error:
            wrong.append(repr(error))

    threads = [threading.Thread(target=work, args=(i % len(TEXTS), i % 4 > 0)) for i in range(8)]
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong


def test_each_thread_hears_its_own_passes_only():
    model = build("albert-groups")
    batches = [inputs_for("albert-groups", [text]) for text in TEXTS]
    with torch.no_grad():
        expected = [model(**b, output_hidden_states=True).hidden_states for b in batches]
    wrong = []

    def work(which):
        got = {}
        with torch.no_grad(), read_layers(model, range(9), got.__setitem__):
            for _ in range(15):
                got.clear()
                model(**batches[which])
                if not same_bits(list(got.values()), expected[which]):
                    wrong.append(which)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(TEXTS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_pass_of_another_thread_in_a_copy_of_this_context_is_not_heard():
    """As `asyncio.to_thread` runs it: the other thread has the context variables of this one."""
    name, table = HEADS[0]
    model, heard = head_model(name, table).eval(), []
    with read_layers(model, [0, 1], lambda layer, state: heard.append(layer)), torch.no_grad():
        context = contextvars.copy_context()
        other = threading.Thread(target=context.run, args=(lambda: model(**inputs_for(name)),))
        other.start()
        other.join()
        assert heard == []
        model(**inputs_for(name))
    assert heard == [0, 1]
