"""What tests of `attach` share: a user's model with the weights of a trunk, and a branch's logits found without `attach`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
import transformers as hf
from bundletools import make
from tiny_zoo import tokenizer_of

from trunkline.branches import LayerState
from trunkline.inputs.batching import Layout
from trunkline.model.branch import Branch

TEXTS = ["a film was great", "play the list of rain and sun to my paris table", "so", "it is not very good today"]
CAUSAL = {"gpt2": hf.GPT2LMHeadModel, "llama": hf.LlamaForCausalLM, "qwen2": hf.Qwen2ForCausalLM, "qwen3": hf.Qwen3ForCausalLM}
CAUSAL["gpt2-left"] = CAUSAL["gpt2"]
TO_SEQUENCE = {
    "bart": hf.BartForConditionalGeneration,
    "mbart": hf.MBartForConditionalGeneration,
    "t5": hf.T5ForConditionalGeneration,
}


def some_slow(quick: Sequence[str], every: Sequence[str]) -> list:
    """Values of a parameter, all but the quick ones marked as slow."""
    return [*quick, *(pytest.param(value, marks=pytest.mark.slow) for value in every if value not in quick)]


def close(found, expected):
    """Equal but for numbers, which may differ by rounding."""
    if isinstance(expected, float):
        return found == pytest.approx(expected, abs=1e-5, rel=1e-5)
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(close(found[key], value) for key, value in expected.items())
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(close, found, expected))
    return found == expected


def users_model(zoo, name, kind=None, **settings):
    """A model with a head, read from the folder that the trunk is read from."""
    kind = kind or CAUSAL.get(name) or TO_SEQUENCE.get(name) or hf.AutoModelForSequenceClassification
    hf.utils.logging.set_verbosity_error()
    torch.manual_seed(0)
    return kind.from_pretrained(zoo(name), dtype=torch.float32, **settings).eval()


def users_tokenizer(zoo, name):
    tokenizer = hf.AutoTokenizer.from_pretrained(zoo(name))
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def inputs_for(name, texts: Sequence[str] = TEXTS, *, left: bool | None = None):
    tokenizer = tokenizer_of(name)
    ids = [row for row in tokenizer(list(texts))["input_ids"]]
    width, pad = max(map(len, ids)), tokenizer.pad_token_id or 0
    left = tokenizer.padding_side == "left" if left is None else left
    gaps = [width - len(row) for row in ids]
    rows = [[pad] * gap + row if left else row + [pad] * gap for gap, row in zip(gaps, ids, strict=True)]
    real = [[0] * gap + [1] * (width - gap) if left else [1] * (width - gap) + [0] * gap for gap in gaps]
    return {"input_ids": torch.tensor(rows), "attention_mask": torch.tensor(real)}


def branches_of(trunk, *, method="adalayers", kinds=("sequence", "token", "multilabel", "regression")) -> dict[str, Branch]:
    return {kind: make(trunk, kind, seed=i, method=method) for i, kind in enumerate(kinds)}


@torch.no_grad()
def logits_alone(trunk, branch: Branch, ids) -> np.ndarray:
    """Of one text, by the library's own hidden states in one pass without a cache, and the branch's fold by itself."""
    ids = torch.as_tensor(np.asarray(ids, np.int64))
    model = trunk.model
    states = model(input_ids=ids[None], output_hidden_states=True, **trunk.call_options).hidden_states
    layout, carry = Layout(torch.tensor([len(ids)])), None
    for layer in branch.module.wanted():
        carry = branch.module.read(carry, layer, LayerState(states[layer][0], layout))
    return branch.module.finish(carry, layout, branch.task.answers.every_row(layout)).numpy()
