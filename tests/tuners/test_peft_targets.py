"""Which modules a method's targets are, for every architecture of the table."""

from __future__ import annotations

import pytest
import transformers as hf
from tiny_zoo import MODELS, build
from torch import nn
from tunertools import frozen

from trunkline.errors import BadInput
from trunkline.trunk.architectures import ARCHITECTURES, find_taps
from trunkline.tuners.targets import LINEAR, PARTS, find_targets, part_names

FUSED = {"modernbert", "gpt2", "gpt2-left"}


def found(name: str, targets: str | list[str]) -> list[str]:
    model = frozen(name)
    return find_targets(targets, model, ARCHITECTURES[model.config.model_type], find_taps(model))


def test_the_table_has_every_architecture_that_reads_texts():
    assert PARTS.keys() == {name for name, row in ARCHITECTURES.items() if row.front is None}


@pytest.mark.parametrize("name", MODELS)
def test_groups_hold_what_they_say(name):
    model = frozen(name)
    row, taps = ARCHITECTURES[model.config.model_type], find_taps(model)
    blocks = len(set(taps.blocks))
    modules = dict(model.named_modules())
    width = model.config.hidden_size

    def group(name: str) -> list[nn.Module]:
        return [modules[target] for target in find_targets(name, model, row, taps)]

    qkv, attention, linear = group("qkv"), group("attention"), group("linear")
    assert len(qkv) == blocks * (1 if name in FUSED else 3)
    assert len(attention) == len(qkv) + blocks
    if name in FUSED:
        with pytest.raises(BadInput, match="expected qkv, attention or linear"):
            group("qv")
    else:
        assert len(group("qv")) == 2 * blocks
        assert set(group("qv")) < set(qkv)
    # What stands in the blocks, counted without the table.
    inside = {module for block in taps.blocks for module in block.modules() if isinstance(module, LINEAR)}
    pooler = getattr(model, "pooler", None)
    pooled = {m for m in pooler.modules() if isinstance(m, LINEAR)} if pooler is not None else set()
    assert set(linear) == inside | pooled
    assert set(attention) < inside
    down = [modules[target] for target in part_names(model, row, taps, "down")]
    assert len(down) == blocks
    assert not set(down) & set(attention)
    for module in down:  # the only maps of a block back to the model's width from another
        rows, columns = module.weight.shape if type(module).__name__ == "Linear" else reversed(module.weight.shape)
        assert rows == width != columns


@pytest.mark.parametrize("name", ["bart", "mbart", "t5"])
def test_a_decoder_has_two_attentions_and_the_encoder_none(name):
    model = build(name, model_class=hf.T5Model if name == "t5" else None)
    row, taps = ARCHITECTURES[name], find_taps(model, "decoder")
    qv, attention = find_targets("qv", model, row, taps), find_targets("attention", model, row, taps)
    assert len(qv) == 2 * 2 * len(taps.blocks) and len(attention) == 2 * 4 * len(taps.blocks)
    assert all(target.startswith(("decoder.layers.", "decoder.block.")) for target in attention)
    inside = {name for name, module in model.decoder.named_modules(prefix="decoder") if isinstance(module, LINEAR)}
    down = part_names(model, row, taps, "down")
    assert len(down) == len(taps.blocks) and set(down) | set(attention) < inside
    width = model.config.hidden_size
    assert all(model.get_submodule(target).weight.shape == (width, 48) for target in down)


def test_modules_by_their_own_names():
    ends = found("bert", ["query", "output.dense"])
    assert len(ends) == 3 * 3  # output.dense is that of attention and that of the feed-forward half
    assert found("bert", "encoder.layer.1.attention.self.key") == ["encoder.layer.1.attention.self.key"]
    assert set(found("bert", ["qv", "word_embeddings"])) == {*found("bert", "qv"), "embeddings.word_embeddings"}


def test_only_what_could_be_meant_is_listed():
    model = frozen("bert")
    with pytest.raises(BadInput) as error:
        find_targets("foo", model, ARCHITECTURES["bert"], find_taps(model), kinds=(nn.Module,), where="here")
    assert str(error.value) == (
        "here: unknown name 'foo'; expected one of LayerNorm, attention, dense, key, linear, position_embeddings, "
        "qkv, query, qv, token_type_embeddings, value, word_embeddings"
    )


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ("quer", "did you mean 'query'"),
        (["linaer"], "did you mean 'linear'"),
        ([], "empty list"),
        ("LayerNorm", "LayerNorm, expected a Linear or Conv1D or Embedding"),
        (["query", "no_such_module_at_all"], "method.targets: unknown name 'no_such_module_at_all'"),
    ],
)
def test_what_is_not_there_is_refused(targets, message):
    with pytest.raises(BadInput, match=message):
        found("bert", targets)
