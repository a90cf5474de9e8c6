"""Causal trunks: on whichever side a batch is padded, branches answer as about each text alone, whatever they pool."""

from __future__ import annotations

import pytest
import torch
import transformers as hf
from attachtools import TEXTS, close, some_slow, users_model
from bundletools import make
from tiny_zoo import make as write

import trunkline
from trunkline.model.bundle import Bundle
from trunkline.trunk.load import load_trunk

NAMES = some_slow(["gpt2", "llama"], ["qwen2", "qwen3"])


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    """sides(name) -> the same trunk with a tokenizer that pads on the right, and with one that pads on the left."""

    def of(name):
        folder = write(tmp_path_factory.mktemp(name) / "trunk", name)
        found = {}
        for side in ("right", "left"):
            hf.AutoTokenizer.from_pretrained(folder, padding_side=side).save_pretrained(folder)
            found[side] = load_trunk(folder, dtype="fp32", device="cpu")
        return found

    return of


def branches_on(trunk):
    pooled = {pooling: make(trunk, "sequence", method="probe", seed=1) for pooling in ("last", "mean", "cls")}
    for pooling, branch in pooled.items():
        branch.module.head.pooling = pooling
    return {**pooled, "layers": make(trunk, "sequence", seed=2), "tags": make(trunk, "token", seed=3)}


@pytest.mark.parametrize("name", NAMES)
def test_both_sides_answer_alike_and_pool_real_tokens(name, sides, zoo):
    found, model = {}, users_model(zoo, name)
    for side, trunk in sides(name).items():
        assert trunk.processor.pad_left == (side == "left")
        branches = branches_on(trunk)
        found[side] = Bundle(trunk, branches).predict(TEXTS)
    assert close(found["left"], found["right"])
    # What a pooled probe reads, from a plain call for each text, without padding.
    for row, text in zip(found["left"], TEXTS, strict=True):
        ids = trunk.tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            state = model(ids, output_hidden_states=True).hidden_states[-1][0]
        for pooling, vector in (("last", state[-1]), ("mean", state.mean(0)), ("cls", state[0])):
            linear = branches[pooling].module.head.linear
            shares = torch.softmax(torch.nn.functional.linear(vector, linear.weight, linear.bias), 0)
            assert close(row[pooling]["scores"], dict(zip("abc", shares.tolist(), strict=True)))
    assert found["left"][0]["last"] != found["left"][0]["mean"]


@pytest.mark.parametrize("name", some_slow(["gpt2"], ["llama", "qwen3"]))
def test_batches_of_a_users_model_may_be_padded_on_either_side(name, sides, zoo):
    """With the positions that the text has alone, as `generate` gives them."""
    model, trunk = users_model(zoo, name), sides(name)["left"]
    branches = branches_on(trunk)
    expected = Bundle(trunk, branches).predict(TEXTS)
    tokenizer = hf.AutoTokenizer.from_pretrained(trunk.folder)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    for side in ("right", "left"):
        tokenizer.padding_side = side
        inputs = tokenizer(TEXTS, padding=True, return_tensors="pt", return_token_type_ids=False)
        positions = (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
        with torch.no_grad(), trunkline.attach(model, branches, tokenizer=tokenizer, texts=TEXTS) as taps:
            model(**inputs, position_ids=positions)
        for key in branches:
            assert close(taps[key], [row[key] for row in expected]), (side, key)
