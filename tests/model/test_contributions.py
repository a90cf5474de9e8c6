"""What layers of tokens contributed, against the states that transformers itself gives of each text alone."""

import numpy as np
import pytest
import torch
from bundletools import TEXTS, make

from trunkline.branches import LayerState
from trunkline.errors import BadInput
from trunkline.inputs.batching import Layout
from trunkline.model.bundle import Bundle
from trunkline.model.contributions import contributions
from trunkline.trunk.load import load_trunk


@pytest.fixture(scope="module")
def bundle(tiny_trunk_dir):
    trunk = load_trunk(tiny_trunk_dir, dtype="fp32", device="cpu")
    branches = {kind: make(trunk, kind, method="routing", max_length=20) for kind in ("sequence", "token", "regression")}
    return Bundle(trunk, {**branches, "probe": make(trunk, "sequence", method="probe")})


@torch.no_grad()
@pytest.mark.parametrize("kind", ["sequence", "regression"])
def test_each_text_has_those_of_its_own_pass(bundle, kind):
    branch, trunk = bundle.branches[kind], bundle.trunk
    found = contributions(bundle, kind, TEXTS)
    for text, own in zip(TEXTS, found, strict=True):
        inputs = trunk.tokenizer(text, truncation=True, max_length=20, return_tensors="pt")
        assert own.tokens == trunk.tokenizer.convert_ids_to_tokens(inputs["input_ids"][0])
        states = trunk.model(**inputs, output_hidden_states=True).hidden_states
        layout, carry = Layout(torch.tensor([len(own.tokens)])), None
        for layer, state in enumerate(states):
            carry = branch.module.read(carry, layer, LayerState(state[0], layout))
        expected = branch.module.contributions(carry, layout)
        torch.testing.assert_close(torch.from_numpy(own.values), expected, rtol=1e-3, atol=1e-3)
        assert own.layers == branch.module.layers and own.labels == branch.task.labels
        assert own.values.shape == (len(own.tokens), len(own.layers), len(own.labels))


def test_those_of_a_sum_of_layers_add_up_to_the_logits_but_for_what_all_texts_share(bundle):
    bundle = Bundle(bundle.trunk, {"mood": make(bundle.trunk, "sequence", max_length=20)})
    sums = np.stack([one.values.sum((0, 1)) for one in contributions(bundle, "mood", TEXTS)])
    logits = np.log(bundle.predict_proba(TEXTS)["mood"])  # but for a number that all labels of a text share

    def between(values):
        return values - values.mean(1, keepdims=True) - (values - values.mean(1, keepdims=True))[0]

    assert between(sums) == pytest.approx(between(logits), abs=2e-3) and np.abs(between(logits)).max() > 0.1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("probe", "branch 'probe': its method, probe, does not tell what layers contribute"),
        ("token", "branch 'token': found a token task, which answers for words; expected one that answers for texts"),
        ("moods", "moods"),
    ],
)
def test_what_tells_none_is_refused(bundle, name, said):
    with pytest.raises(BadInput, match=said):
        contributions(bundle, name, TEXTS)


def test_no_text_has_none(bundle):
    assert contributions(bundle, "sequence", []) == []
