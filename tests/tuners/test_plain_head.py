"""The plain head against transformers' own classification models: given the same weights and states, the same logits."""

from __future__ import annotations

import pytest
import torch
import transformers as hf
from tiny_zoo import MODELS, build
from torch import nn

from trunkline.branches.dense import DenseGroup
from trunkline.branches.fold import LayerState, Output
from trunkline.inputs.batching import Layout
from trunkline.tuners.plain import PlainHead

LENGTHS = [5, 1, 7]
PADDING, END = 3, 2  # what the zoo's texts are padded with here, and what BART takes for a text's end
MAPPINGS = {"text": hf.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, "unit": hf.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING}
# Those of which the library's class reads another stack than a trunk does, or does not exist.
LACKING = {("bart", "text"), ("bart", "unit"), ("mbart", "text"), ("mbart", "unit"), ("t5", "text")}


def library_model(name: str, level: str, **config: int) -> hf.PreTrainedModel:
    kind = MAPPINGS[level][MODELS[name].model_class.config_class]
    return build(name, model_class=kind, num_labels=3, pad_token_id=PADDING, **config)


def batch() -> tuple[torch.Tensor, torch.Tensor, Layout]:
    layout = Layout(torch.tensor(LENGTHS))
    ids = torch.randint(10, 60, layout.mask.shape, generator=torch.Generator().manual_seed(0))
    ids[torch.arange(len(LENGTHS)), layout.lengths - 1] = END
    return ids.masked_fill(~layout.mask, PADDING), layout.mask.long(), layout


def answer(head: PlainHead, states: torch.Tensor, layout: Layout, rows: torch.Tensor | None = None) -> torch.Tensor:
    return head.eval().finish(head.read(None, head.layers[0], LayerState(layout.unpad(states))), layout, rows)


def padded_answer(head: PlainHead, states: torch.Tensor, layout: Layout) -> torch.Tensor:
    padded = torch.where(layout.mask[..., None], states, 9.0)  # what stands on padding does not count
    return DenseGroup({"head": head.eval()}, 8)({head.layers[0]: padded}, layout.mask)["head"]


@pytest.mark.parametrize("level", ["text", "unit"])
@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_logits_are_those_of_the_library(tmp_path, name, level):
    if (name, level) in LACKING:
        pytest.skip("the library has no such class")
    model = library_model(name, level)
    model.save_pretrained(tmp_path)
    ids, mask, layout = batch()
    head = PlainHead(model.config, Output(level, 3), tmp_path)
    states = model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state
    expected = model(input_ids=ids, attention_mask=mask).logits
    padded = padded_answer(head, states, layout)
    if level == "text":
        torch.testing.assert_close(answer(head, states, layout), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(padded, expected, rtol=1e-5, atol=1e-5)
    else:
        torch.testing.assert_close(layout.unpad(padded), layout.unpad(expected), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(answer(head, states, layout), layout.unpad(expected), rtol=1e-5, atol=1e-5)
        rows = torch.tensor([6, 0, 12])
        torch.testing.assert_close(answer(head, states, layout, rows), layout.unpad(expected)[rows], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["bart", "mbart", "t5"])
@torch.no_grad()
def test_a_decoder_has_the_head_of_the_library(tmp_path, name):
    model = library_model(name, "text", eos_token_id=END)
    model.save_pretrained(tmp_path)
    ids, mask, layout = batch()
    head = PlainHead(model.config, Output("text", 3), tmp_path, stack="decoder")
    assert head.layers == (2,)
    own = {"decoder_input_ids": model._shift_right(ids)} if name == "t5" else {}
    states = model.base_model(input_ids=ids, attention_mask=mask, **own).last_hidden_state
    expected = model(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(answer(head, states, layout), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(padded_answer(head, states, layout), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "level"), sorted(LACKING))
def test_what_the_library_lacks_is_pooled(name, level):
    head = PlainHead(build(name).config, Output(level, 3))
    layout = Layout(torch.tensor(LENGTHS))
    rows = torch.randn(13, 32)
    wanted = torch.stack([part.mean(0) for part in rows.split(LENGTHS)]) if level == "text" else rows
    expected = nn.functional.linear(wanted, head.pooled.linear.weight, head.pooled.linear.bias)
    torch.testing.assert_close(head.eval().finish(rows, layout), expected)


@pytest.mark.parametrize("name", ["bert", "albert"])
def test_a_pretrained_pooler_is_read_from_the_trunk_and_frozen(tmp_path, name):
    model = build(name)  # a bare one: its tensors have no prefix
    model.save_pretrained(tmp_path)
    head = PlainHead(model.config, Output("text", 6), tmp_path)
    for key, value in model.pooler.state_dict().items():
        assert torch.equal(head.pooler.state_dict()[key], value)
    trained = {key for key, value in head.named_parameters() if value.requires_grad}
    assert trained == {"model.classifier.weight", "model.classifier.bias"}
    assert sum(p.numel() for p in head.parameters() if p.requires_grad) == 6 * 32 + 6


def test_a_pretrained_head_is_read_as_far_as_it_fits(tmp_path):
    model = build("modernbert", model_class=hf.ModernBertForMaskedLM)
    model.save_pretrained(tmp_path)
    head = PlainHead(model.config, Output("text", 4), tmp_path)
    assert torch.equal(head.model.head.dense.weight, model.head.dense.weight)
    other = build("bert", model_class=hf.BertForSequenceClassification, num_labels=2)
    other.save_pretrained(tmp_path / "two")
    assert PlainHead(other.config, Output("text", 4), tmp_path / "two").model.classifier.weight.shape == (4, 32)


def test_the_draw_follows_the_seed_and_the_librarys_width():
    config = build("roberta").config

    def draw(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return PlainHead(config, Output("text", 3)).model.classifier.dense.weight

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    assert draw(1).std().item() == pytest.approx(config.initializer_range, rel=0.1)


def test_dropout_is_the_configs():
    assert PlainHead(build("bert", classifier_dropout=0.37).config, Output("text", 3)).model.dropout.p == 0.37


@pytest.mark.parametrize("name", ["bert", "albert"])
def test_a_bound_head_calls_the_pooler_of_the_changed_model(name):
    model = build(name)
    head = PlainHead(model.config, Output("text", 3))
    layout, states = Layout(torch.tensor(LENGTHS)), torch.randn(3, 7, 32)
    before = answer(head, states, layout)
    head.bind(nn.Sequential(model))  # within a wrapper
    assert not any("pooler" in key for key in head.state_dict())  # it is the model's now
    expected = model.pooler_activation(model.pooler(states[:, 0])) if name == "albert" else model.pooler(states)
    torch.testing.assert_close(answer(head, states, layout), head.model.classifier(expected))
    assert not torch.allclose(before, answer(head, states, layout))


def test_gradients_reach_the_states_and_the_head():
    head = PlainHead(build("roberta").config, Output("text", 3))
    rows = torch.randn(13, 32, requires_grad=True)
    head.finish(rows, Layout(torch.tensor(LENGTHS))).sum().backward()
    assert rows.grad is not None
    assert rows.grad.abs().sum(1).nonzero().flatten().tolist() == [0, 5, 6]  # the first token of each text
    assert all(p.grad is not None for p in head.parameters())
