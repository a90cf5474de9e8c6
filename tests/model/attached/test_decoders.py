"""Branches on the decoder of an encoder-decoder that runs anyway: its own texts, padded or generated, one token later."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers as hf
from attachtools import TEXTS, branches_of, close, some_slow, users_model, users_tokenizer
from tiny_zoo import make as write

import trunkline
from trunkline.branches import LayerState
from trunkline.inputs.batching import Layout
from trunkline.model.bundle import Bundle
from trunkline.trunk.load import load_trunk

NAMES = some_slow(["bart", "t5"], ["mbart"])


@torch.no_grad()
def logits_beside(model, branch, encoder, ids):
    """Of one text: the library's own hidden states of a decoder that reads `ids`, and the branch's fold by itself."""
    given = torch.as_tensor(np.asarray(ids, np.int64))[None]
    states = model(**encoder, decoder_input_ids=given, output_hidden_states=True, use_cache=False).decoder_hidden_states
    layout, carry = Layout(torch.tensor([given.shape[1]])), None
    for layer in branch.module.wanted():
        carry = branch.module.read(carry, layer, LayerState(states[layer][0], layout))
    return branch.module.finish(carry, layout, branch.task.answers.every_row(layout)).numpy()


@pytest.mark.parametrize("name", NAMES)
def test_answers_about_padded_texts_are_those_of_a_bundle(zoo, trunk_of, name):
    """A head for texts gives the decoder the text by itself: one token later, padded, and without a mask."""
    trunk = trunk_of(name, "decoder")
    branches = branches_of(trunk)
    kind = hf.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(trunk.model.config)]
    model, tokenizer = users_model(zoo, name, kind), users_tokenizer(zoo, name)
    inputs = tokenizer(TEXTS, padding=True, return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad(), trunkline.attach(model, branches, tokenizer=tokenizer, texts=TEXTS) as taps:
        model(**inputs)
    expected = Bundle(trunk, branches).predict(TEXTS)
    assert any(row["token"]["spans"] for row in expected)
    for key in branches:
        assert close(taps[key], [row[key] for row in expected])
    assert taps.texts == TEXTS and not taps.findings


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("bart", {}),
        *(
            pytest.param("t5", way, marks=pytest.mark.slow)
            for way in ({}, {"num_beams": 3}, {"do_sample": True}, {"cache_implementation": "static"})
        ),
        *(pytest.param(name, {"num_beams": 3}, marks=pytest.mark.slow) for name in ("bart", "mbart")),
    ],
    ids=str,
)
def test_answers_about_generated_texts_are_those_of_one_pass(zoo, trunk_of, name, way):
    generated_like_one_pass(zoo, trunk_of(name, "decoder"), name, way)


@pytest.mark.parametrize("name", some_slow(["t5"], ["bart"]))
def test_beams_of_a_decoder_of_one_block_are_told_from_each_other(tmp_path, name):
    """Its keys are the same for all texts that end with the same token, whatever the encoder has read."""
    folder = write(tmp_path / name, name, **{"num_decoder_layers" if name == "t5" else "decoder_layers": 1})
    trunk = load_trunk(folder, stack="decoder", dtype="fp32", device="cpu")
    generated_like_one_pass(lambda _: folder, trunk, name, {"num_beams": 4})


def generated_like_one_pass(zoo, trunk, name, way):
    branches = branches_of(trunk, kinds=("sequence", "token"))
    model, tokenizer = users_model(zoo, name), users_tokenizer(zoo, name)
    inputs = tokenizer(TEXTS[:2], padding=True, return_tensors="pt", return_token_type_ids=False)
    lengths = {"max_new_tokens": 5, "min_new_tokens": 5}
    settings = {**lengths, "do_sample": False, "output_scores": True, "return_dict_in_generate": True, **way}
    torch.manual_seed(0)
    bare = model.generate(**inputs, **settings)
    torch.manual_seed(0)
    with trunkline.attach(model, branches, tokenizer=tokenizer, texts=TEXTS[:2]) as taps:
        ridden = model.generate(**inputs, **settings)
    beams = way.get("num_beams", 1)
    if beams == 1:
        assert [ids.tolist() for ids in taps.tokens] == ridden.sequences[:, :-1].tolist()
    assert torch.equal(ridden.sequences, bare.sequences) and all(map(torch.equal, ridden.scores, bare.scores))
    (seen,) = taps._followers["decoder"].seen
    at = 0
    for row, ids in enumerate(taps.tokens):
        encoder = {key: value[row // beams : row // beams + 1] for key, value in inputs.items()}
        alone = {key: logits_beside(model, branch, encoder, ids) for key, branch in branches.items()}
        np.testing.assert_allclose(seen.logits()["sequence"][row], alone["sequence"][0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(seen.logits()["token"][at : at + len(ids)], alone["token"], rtol=1e-4, atol=1e-5)
        at += len(ids)
    assert row + 1 == 2 * beams
    # Words are those of what was written, not of what was given to the encoder.
    assert taps.texts != TEXTS[:2] and all("spans" in answer for answer in taps["token"])


def test_a_mask_of_the_decoder_is_believed(zoo, trunk_of):
    branches, model = branches_of(trunk_of("t5", "decoder"), kinds=("sequence",)), users_model(zoo, "t5")
    encoder = {"input_ids": torch.tensor([[9, 8, 7, 1]])}
    ids, mask = torch.tensor([[0, 5, 6, 0]]), torch.tensor([[1, 1, 1, 1]])
    with torch.no_grad(), trunkline.attach(model, branches) as taps:
        model(**encoder, decoder_input_ids=ids)
        model(**encoder, decoder_input_ids=ids, decoder_attention_mask=mask)
    assert [own.tolist() for own in taps.tokens] == [[0, 5, 6], [0, 5, 6, 0]]
