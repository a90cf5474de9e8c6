"""Prompt tuning: on every architecture the same as embeddings put before the text by hand, whatever the padding."""

from __future__ import annotations

import pytest
import torch
import transformers as hf
from peft import PromptTuningConfig, TaskType, get_peft_model
from tiny_zoo import MODELS, build
from tunertools import apply, frozen, ids, states, trained

from trunkline.errors import BadInput
from trunkline.trunk.architectures import ARCHITECTURES, find_taps
from trunkline.trunk.load import load_trunk
from trunkline.tuners.prompt import Prompt, PromptConfig
from trunkline.tuners.states import TunedStates
from trunkline.tuners.tuned import TunedTrunk


@pytest.mark.parametrize("name", MODELS)
def test_vectors_stand_before_the_embeddings(name):
    model = frozen(name)
    tuner, changed = apply(model, "prompt", virtual_tokens=4)
    assert (tuner.virtual_tokens, tuner.positions) == (4, 4)
    (prompt,) = trained(changed).values()
    words = model.get_input_embeddings()
    found = (prompt[:, None] == words.weight[None]).all(-1).any(1)  # they start as words of the vocabulary
    if name not in ("bart", "mbart"):  # which scale their embeddings when they are looked up
        assert found.all()
    embedded = torch.cat((prompt.expand(2, -1, -1), words(ids())), 1)
    expected = states(model, inputs_embeds=embedded, attention_mask=torch.ones(2, 11, dtype=torch.long))
    torch.testing.assert_close(states(changed), expected)
    changed(input_ids=ids()).last_hidden_state[:, 4:].square().sum().backward()
    assert prompt.grad is not None and (prompt.grad.abs().sum(1) > 0).all()


@pytest.mark.parametrize("name", MODELS)
def test_rows_of_the_text_alone_come_out_whatever_the_padding(zoo, tmp_path, name):
    trunk = load_trunk(zoo(name), dtype="fp32", device="cpu")
    tuned = TunedTrunk(trunk, Prompt(PromptConfig(virtual_tokens=3)), "fp32").eval()
    encoded = trunk.encode(["the film was good", "a", "i feel happy today"])
    top = trunk.num_layers
    feed, found = TunedStates(tuned, encoded), {}

    def rows(sequences: list[int]) -> torch.Tensor:
        with torch.no_grad():
            feed.feed(sequences, (0, top), found.__setitem__)
        assert len(found[0]) == len(found[top]) == encoded.lengths[sequences].sum()
        return found[top]

    together = rows([0, 1, 2])
    alone = torch.cat([rows([i]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2"])
def test_segments_and_positions_are_those_of_the_library(name):
    kinds = {"bert": hf.BertForSequenceClassification, "roberta": hf.RobertaForSequenceClassification}
    model = build(name, model_class=kinds.get(name, hf.GPT2ForSequenceClassification), pad_token_id=3)
    config = PromptTuningConfig(task_type=TaskType.SEQ_CLS, num_virtual_tokens=4)
    library = get_peft_model(model, config).eval()
    _, changed = apply(frozen(name, pad_token_id=3), "prompt", virtual_tokens=4)
    base = library.get_base_model().base_model
    changed.model.load_state_dict(base.state_dict(), strict=False)
    with torch.no_grad():
        changed.encoder.embedding.weight.copy_(library.prompt_encoder["default"].embedding.weight)
    inputs = {"input_ids": ids(), "attention_mask": torch.ones_like(ids())}
    if name == "bert":
        inputs["token_type_ids"] = (torch.arange(7) > 3).long().expand(2, -1)
    seen = []
    handle = base.register_forward_hook(lambda module, args, output: seen.append(output.last_hidden_state))
    with torch.no_grad():
        library(**inputs)
    handle.remove()
    torch.testing.assert_close(states(changed, **inputs), seen[0])


def test_too_many_for_the_positions_are_refused():
    with pytest.raises(BadInput, match="found 64 with 1 tokens of text, expected at most 64 in all"):
        apply(frozen("bert"), "prompt", virtual_tokens=64)
    _, changed = apply(frozen("bert"), "prompt", virtual_tokens=60)
    with pytest.raises(BadInput, match="found 60 with 7 tokens"):
        states(changed)


def test_a_decoder_beside_its_encoder_is_refused():
    model = build("bart")
    with pytest.raises(BadInput, match="decoder of bart"):
        Prompt(PromptConfig()).apply(model, ARCHITECTURES["bart"], find_taps(model, "decoder"))
