from unittest import mock

import numpy as np
import pytest
import torch
from light import LightTrunk, feed, light_corpus, light_pass
from tiny_zoo import ZOO

from trunkline.states.live import LiveStates
from trunkline.trunk.load import load_trunk

TEXTS = ["the film was great", "play a song", "it was a very bad film , not good", "tokyo", "book a table for two in paris"]


def library_states(trunk, text):
    """Every hidden state (T, K) of one text alone, as the library itself returns them."""
    inputs = trunk.tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        return [state[0] for state in trunk.model(**inputs, output_hidden_states=True).hidden_states]


@pytest.fixture(scope="module", params=["bert", "gpt2"])
def trunk(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("zoo") / request.param
    ZOO[request.param](folder)
    trunk = load_trunk(folder, dtype="fp32", device="cpu")
    return trunk


def test_one_text_at_a_time_gives_the_library_s_own_bits(trunk):
    live = LiveStates(trunk, trunk.encode(TEXTS))
    assert live.layers == tuple(range(trunk.num_layers + 1))
    for number, text in enumerate(TEXTS):
        expected = library_states(trunk, text)
        # not the last: some models put a final norm between the last block and what they return
        for layer, rows in feed(live, [number], live.layers[:-1]).items():
            assert torch.equal(rows, expected[layer])


def test_a_padded_batch_is_packed_in_the_order_asked_for(trunk):
    live = LiveStates(trunk, trunk.encode(TEXTS))
    order = [3, 0, 4, 0, 2]
    expected = torch.cat([library_states(trunk, TEXTS[number])[1] for number in order])
    torch.testing.assert_close(feed(live, order, [1])[1], expected, atol=1e-5, rtol=1e-4)


def test_a_trunk_that_pads_on_the_left_gives_the_same_rows(tmp_path):
    ZOO["gpt2"](tmp_path / "gpt2")
    trunk = load_trunk(tmp_path / "gpt2", dtype="fp32", device="cpu")
    encoded = trunk.encode(TEXTS)
    trunk.tokenizer.padding_side = "left"
    trunk.tokenizer.save_pretrained(tmp_path / "gpt2")
    left = load_trunk(tmp_path / "gpt2", dtype="fp32", device="cpu")
    mask = left.collate(encoded, np.arange(5))["attention_mask"]
    assert mask[:, -1].all() and not mask[:, 0].all()
    for layer, rows in feed(LiveStates(left, encoded), range(5), [0, 1]).items():
        torch.testing.assert_close(rows, feed(LiveStates(trunk, encoded), range(5), [layer])[layer], atol=1e-5, rtol=1e-4)


def test_nothing_is_copied_where_nothing_is_padded_and_rows_come_while_the_pass_runs():
    made, received = [], []

    def watched(trunk, inputs, layers, receive):
        def hand(layer, state):
            made.append(state.data_ptr())
            receive(layer, state)
            assert received[-1][0] == layer

        light_pass(trunk, inputs, layers, hand)

    live = LiveStates(LightTrunk(), light_corpus([4, 4, 6]))
    with mock.patch("trunkline.states.live.run_layers", watched):
        live.feed(np.array([0, 1]), [1, 2], lambda layer, rows: received.append((layer, rows.shape, rows.data_ptr())))
        assert [shape for _, shape, _ in received] == [(8, 8)] * 2
        assert [pointer for _, _, pointer in received] == made
        live.feed(np.array([0, 2]), [1], lambda layer, rows: received.append((layer, rows.shape, rows.data_ptr())))
        assert received[-1][1] == (10, 8) and received[-1][2] != made[-1]


def test_a_compiled_trunk_meets_few_lengths(tiny_trunk_dir, monkeypatch):
    pytest.importorskip("onnxruntime")
    plain, compiled = load_trunk(tiny_trunk_dir, dtype="fp32", device="cpu"), load_trunk(tiny_trunk_dir, backend="onnx")
    seen, run = set(), type(compiled.compiled).run
    monkeypatch.setattr(
        type(compiled.compiled),
        "run",
        lambda self, inputs, *given: seen.add(inputs["input_ids"].shape[1]) or run(self, inputs, *given),
    )
    encoded = plain.encode([" ".join(["good"] * n) for n in range(1, 30)])
    for sequences in ([0], [5], [6, 6], [2, 12], [28]):
        found, expected = {}, {}
        LiveStates(compiled, encoded).feed(np.array(sequences), [3], found.__setitem__)
        LiveStates(plain, encoded).feed(np.array(sequences), [3], expected.__setitem__)
        torch.testing.assert_close(found[3], expected[3], atol=1e-4, rtol=1e-4)
    assert seen == {8, 16, 32}
