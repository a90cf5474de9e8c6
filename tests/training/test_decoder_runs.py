"""AdaLayers over the layers of an encoder-decoder's decoder: trained from the store, reloaded, on a model that generates."""

from __future__ import annotations

import pytest
import torch
import transformers as hf
from attachtools import close, some_slow, users_model, users_tokenizer
from synthetic import config, write_rows

import trunkline
from trunkline.branches import LayerState
from trunkline.data.sources import read_table
from trunkline.files import cache_dir
from trunkline.inputs.batching import Layout
from trunkline.model.bundle import Bundle
from trunkline.states.store import StatesStore


@torch.no_grad()
def library_states(model, ids):
    """The decoder's own hidden states of one text that the encoder and, one token later, the decoder read."""
    start = torch.tensor([[model.config.decoder_start_token_id]])
    later = torch.cat([start, ids[:, :-1]], 1)
    return model(input_ids=ids, decoder_input_ids=later, output_hidden_states=True).decoder_hidden_states


@pytest.mark.parametrize("name", some_slow(["t5"], ["bart"]))
def test_a_branch_reads_the_decoders_layers(name, zoo, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 60)
    values = config(zoo(name), rows, tasks=("mood",), epochs=1, states="store", states_dtype="fp32")
    values["trunk"]["stack"] = "decoder"
    run = trunkline.fit(values, run_dir=tmp_path / "run", progress=False)
    assert {int(layer) for layer in run.tasks["mood"]["layers"]} == {
        0,
        1,
        2,
    }  # of the two blocks of the decoder, not the encoder's three
    model, tokenizer = users_model(zoo, name), users_tokenizer(zoo, name)
    assert isinstance(model, hf.T5ForConditionalGeneration | hf.BartForConditionalGeneration)
    texts = read_table(str(rows)).column("text")
    whole = {text: library_states(model, tokenizer(text, return_tensors="pt")["input_ids"]) for text in texts}
    stored = [folder.parent for folder in (cache_dir() / "states").glob("*/store.json")]
    assert stored
    for store in map(StatesStore.open, stored):
        for number in range(len(store.lengths)):
            found = {}
            store.feed([number], [0, 1, 2], found.__setitem__)
            # Which text it is, a store does not say: the one whose states these are.
            same = [own for own in whole.values() if own[2].shape[1] == len(found[2])]
            nearest = min(same, key=lambda own, found=found: float((own[2][0] - found[2]).abs().max()))
            for layer in range(3):
                torch.testing.assert_close(found[layer], nearest[layer][0], rtol=1e-5, atol=1e-5)

    bundle = Bundle.open(tmp_path / "run", device="cpu")
    branch, expected = bundle.branches["mood"], []
    for text in texts[:8]:
        layout, carry = Layout(torch.tensor([whole[text][0].shape[1]])), None
        with torch.no_grad():
            for layer in branch.module.wanted():
                carry = branch.module.read(carry, layer, LayerState(whole[text][layer][0], layout))
            shares = branch.probabilities(branch.module.finish(carry, layout, None))
        expected.append(dict(zip(branch.task.labels, shares[0].tolist(), strict=True)))
    assert close([row["mood"]["scores"] for row in bundle.predict(texts[:8])], expected)

    inputs = tokenizer(texts[:2], padding=True, return_tensors="pt", return_token_type_ids=False)
    bare = model.generate(**inputs, max_new_tokens=4)
    with trunkline.attach(model, run) as taps:
        assert torch.equal(model.generate(**inputs, max_new_tokens=4), bare)
    assert len(taps["mood"]) == 2
