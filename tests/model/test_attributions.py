"""Integrated gradients, against the sum of their definition over a plain forward pass of transformers."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from bundletools import make
from tiny_audio import tiny_whisper

from trunkline.branches import LayerState, methods
from trunkline.data.corpus import segment
from trunkline.errors import BadInput
from trunkline.inputs.batching import Layout
from trunkline.model.approach import approach_of
from trunkline.model.attributions import attributions
from trunkline.model.branch import Branch
from trunkline.model.bundle import Bundle
from trunkline.model.checking import named_section
from trunkline.model.trunk_ref import TrunkRef
from trunkline.trunk.load import load_trunk

KINDS = ("sequence", "multilabel", "regression", "token")
TEXT = "so good, the zebra film was not awful in paris"
UNIT = 8  # "awful"


@pytest.fixture(scope="module")
def bundle(tiny_trunk_dir):
    trunk = load_trunk(tiny_trunk_dir, dtype="fp32", device="cpu")
    branches = {kind: make(trunk, kind, method="routing" if kind == "regression" else "adalayers") for kind in KINDS}
    return Bundle(trunk, branches)


def output(bundle, name, embeddings, label, row):
    """F of embeddings (B, T, E), by the states that transformers hands out."""
    branch, trunk = bundle.branches[name], bundle.trunk
    count, length, _ = embeddings.shape
    mask = torch.ones(count, length, dtype=torch.long)
    states = trunk.model(inputs_embeds=embeddings, attention_mask=mask, output_hidden_states=True).hidden_states
    layout, carry = Layout(torch.full((count,), length)), None
    for layer in branch.module.wanted():
        carry = branch.module.read(carry, layer, LayerState(states[layer].flatten(0, 1), layout))
    rows = None if row is None else torch.arange(count) * length + row
    logits = branch.module.finish(carry, layout, rows)[:, branch.task.labels.index(label)]
    mean, deviation = branch.task.scale or (0, 1)
    return logits * deviation + mean


def by_definition(bundle, name, text, label, row, steps=200, at_once=100):
    """Eq. 3 of the paper, by midpoints: the mean of the gradients at (k - 1/2) / m of the way, k = 1..m, times the way."""
    trunk = bundle.trunk
    ids = trunk.tokenizer(text, return_tensors="pt")["input_ids"]
    embed = trunk.model.get_input_embeddings()
    given, empty = embed(ids), embed(torch.where((ids == 2) | (ids == 3), ids, 0))
    total = torch.zeros_like(given)
    for first in range(1, steps + 1, at_once):
        ways = (torch.arange(first, first + at_once)[:, None, None] - 0.5) / steps
        points = (empty + ways * (given - empty)).requires_grad_()
        [gradients] = torch.autograd.grad(output(bundle, name, points, label, row).sum(), points)
        total += gradients.sum(0) / steps
    ends = [float(output(bundle, name, end, label, row)[0].detach()) for end in (given, empty)]
    return (total * (given - empty))[0].sum(-1).numpy(), *ends


@pytest.mark.parametrize("kind", KINDS)
def test_the_values_are_those_of_the_definition(bundle, kind):
    [found] = attributions(bundle, kind, [TEXT], units=[UNIT] if kind == "token" else None)
    tokens = bundle.trunk.tokenizer.convert_ids_to_tokens(bundle.trunk.tokenizer(TEXT)["input_ids"])
    row = tokens.index("awful") if kind == "token" else None
    expected, given, empty = by_definition(bundle, kind, TEXT, found.label, row)
    assert found.tokens == tokens and found.unit == (UNIT if kind == "token" else None)
    assert (found.output, found.baseline) == (pytest.approx(given, abs=1e-5), pytest.approx(empty, abs=1e-5))
    np.testing.assert_allclose(found.values, expected, atol=5e-5)
    assert np.abs(expected).max() > 0.01
    assert found.values.sum() == pytest.approx(found.output - found.baseline, abs=1e-4)
    assert found.delta == pytest.approx(found.values.sum() - (found.output - found.baseline), abs=1e-6)


def test_words_have_the_sum_of_their_tokens(bundle):
    [found] = attributions(bundle, "sequence", [TEXT])
    assert [(word.start, word.end) for word in found.words] == segment(TEXT)
    assert [word.text for word in found.words] == [TEXT[start:end] for start, end in segment(TEXT)]
    zebra = [number for number, token in enumerate(found.tokens) if token in ("z", "##e", "##b", "##r", "##a")]
    assert len(zebra) == 5
    assert found.words[4].value == pytest.approx(found.values[zebra].sum(), abs=1e-9)
    assert sum(word.value for word in found.words) + found.others == pytest.approx(found.values.sum(), abs=1e-9)
    assert found.others == pytest.approx(found.values[[0, -1]].sum(), abs=1e-9) == 0  # special tokens stay as they are


def test_by_default_the_predicted_label_is_explained(bundle):
    for name in ("sequence", "multilabel"):
        [found] = attributions(bundle, name, [TEXT], steps=2)
        scores = bundle.predict(TEXT)[name]["scores"]
        assert found.label == max(scores, key=scores.get)
        [other] = attributions(bundle, name, [TEXT], label=min(scores, key=scores.get), steps=2)
        assert other.label == min(scores, key=scores.get)
    [number] = attributions(bundle, "regression", [TEXT], steps=2)
    assert number.label == "value" and number.output == pytest.approx(bundle.predict(TEXT)["regression"]["value"], abs=1e-4)
    tags = Bundle(bundle.trunk, {"token": make(bundle.trunk, "token", seed=2)})  # whose tags are mostly O
    labels, outside = tags.branches["token"].task.labels, []
    for text in ("table bad the list so film book", "the film was good"):
        [shares] = tags.predict_proba([text])["token"]
        best = shares.argmax(1)
        words = np.flatnonzero(best) if best.any() else np.arange(len(best))  # those that are predicted another tag, if any are
        [tagged] = attributions(tags, "token", [text], steps=1)
        assert tagged.unit == words[shares[words, 0].argmin()] and tagged.predicted == labels[best[tagged.unit]]
        assert tagged.label == labels[1 + shares[tagged.unit, 1:].argmax()]
        outside.append(tagged.predicted == "O")
    assert set(outside) == {True, False}


def test_tokens_of_a_second_text_are_words_of_their_own(bundle):
    pairs = Bundle(bundle.trunk, {"pairs": make(bundle.trunk, "sequence", text_pair="other")})
    [found] = attributions(pairs, "pairs", ["good film"], ["bad zoo"], steps=4)
    assert [(word.text, word.start, word.end) for word in found.words] == [
        ("good", 0, 4), ("film", 5, 9), ("bad", None, None), ("z", None, None), ("##o", None, None), ("##o", None, None),
    ]  # fmt: skip
    assert sum(word.value for word in found.words) + found.others == pytest.approx(found.values.sum(), abs=1e-9)


def test_nothing_that_others_use_is_changed(bundle):
    """Threads attribute and predict at once; each gets what it gets alone, and no weight has a gradient."""
    texts = [TEXT, "a great table", "we play sad songs for two"]
    before = bundle.predict(texts)
    alone = [attributions(bundle, "sequence", [text], steps=8)[0].values for text in texts]
    with ThreadPoolExecutor(6) as pool:
        explained = [pool.submit(attributions, bundle, "sequence", [text], steps=8) for text in texts * 2]
        predicted = [pool.submit(bundle.predict, texts) for _ in range(6)]
        for own, expected in zip(explained, alone * 2, strict=True):
            np.testing.assert_array_equal(own.result()[0].values, expected)
        assert all(own.result() == before for own in predicted)
    modules = [bundle.trunk.model, *(branch.module for branch in bundle.branches.values())]
    assert all(parameter.grad is None for module in modules for parameter in module.parameters())
    with torch.no_grad():  # of a caller, which it is not to be bothered by
        np.testing.assert_array_equal(attributions(bundle, "sequence", [TEXT], steps=8)[0].values, alone[0])


def test_a_trunk_in_another_precision_is_read_in_float32(tiny_trunk_dir, bundle):
    narrow = load_trunk(tiny_trunk_dir, dtype="bf16", device="cpu")
    own = Bundle(narrow, {"sequence": make(narrow, "sequence")})
    [found], [expected] = (attributions(one, "sequence", [TEXT], steps=4) for one in (own, bundle))
    np.testing.assert_array_equal(found.values, expected.values)


@pytest.mark.parametrize("method", ["lora", "prompt", "prefix"])
@pytest.mark.parametrize("head", ["plain", "probe"])
def test_a_changed_trunk_is_gone_through_as_it_is(bundle, method, head):
    task, trunk = bundle.branches["regression"].task, bundle.trunk
    values = {"name": method, "head": head}
    config = named_section(values, "name", methods, "config", "method")
    approach_of(config).resolve_head(config, "config")
    ref = TrunkRef.of(trunk)
    source, parts = approach_of(config).make(lambda: trunk, ref.shape, config, {"t": task}, "fp32", pretrained=False)
    with torch.no_grad():
        for parameter in (*source.own().values(), *parts["t"].branch.parameters()):
            parameter.add_(torch.randn_like(parameter) * 0.1)
    source.eval()
    branch = Branch(task, config, parts["t"].branch.eval(), parts["t"].criterion, ref, 40, "fp32", source=source)
    own = Bundle(trunk, {"t": branch})
    [found] = attributions(own, "t", [TEXT])
    assert found.output == pytest.approx(own.predict(TEXT)["t"]["value"], abs=1e-4)
    assert abs(found.delta) < 1e-3 * max(1, abs(found.output - found.baseline)) and np.abs(found.values).max() > 1e-4
    assert all(parameter.grad is None for parameter in source.parameters())


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        ("sequence", {"label": "d"}, "label"),
        ("sequence", {"units": [0]}, "units: found 1 numbers of words, expected one for each text of a task that tags words"),
        ("token", {"units": [11]}, "text 1: found no word 11 that has tokens, expected one of 0 to 10"),
        ("sequence", {"steps": 0}, "steps: found 0, expected a whole number of at least 1"),
        ("moods", {}, "moods"),
    ],
)
def test_what_cannot_be_is_said(bundle, name, more, said):
    with pytest.raises(BadInput, match=said):
        attributions(bundle, name, [TEXT], **more)
    assert attributions(bundle, "sequence", []) == []


def test_what_reads_no_words_is_refused(tmp_path, zoo):
    heard = load_trunk(tiny_whisper(tmp_path / "whisper"), dtype="fp32", device="cpu")
    with pytest.raises(BadInput, match=r"branch 't': its trunk .* reads audio, and attributions are of words"):
        attributions(Bundle(heard, {"t": make(heard, "sequence")}), "t", [TEXT])
    decoder = load_trunk(zoo("bart"), stack="decoder", dtype="fp32", device="cpu")
    with pytest.raises(BadInput, match="its decoder is read, and attributions need an encoder or a causal model"):
        attributions(Bundle(decoder, {"t": make(decoder, "sequence", max_length=32)}), "t", [TEXT])


def test_without_captum_its_extra_is_named(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(BadInput, match=r"token attributions need captum: pip install 'trunkline\[explain\]'"):
        attributions(bundle, "sequence", [TEXT])


ENCODERS = (
    "roberta xlm-roberta distilbert electra mpnet deberta-v2 albert modernbert bart mbart t5 gpt2-left llama qwen3".split()
)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODERS)
def test_every_architecture_takes_embeddings(zoo, name):
    trunk = load_trunk(zoo(name), dtype="fp32", device="cpu")
    own = Bundle(trunk, {kind: make(trunk, kind, max_length=32) for kind in ("sequence", "token")})
    for kind in own.branches:
        [found] = attributions(own, kind, ["the film was good"])
        assert abs(found.delta) <= 0.02 * max(1, abs(found.output - found.baseline))
        assert [word.text for word in found.words] == ["the", "film", "was", "good"]
        assert sum(word.value for word in found.words) + found.others == pytest.approx(found.values.sum(), abs=1e-9)
