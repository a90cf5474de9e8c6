"""Pooled states against numpy on the rows of each sequence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from light import feed, light_corpus, light_state

from trunkline.states.pooled import PooledStates, pooled_bytes

PICK = {"mean": lambda rows: rows.mean(0), "cls": lambda rows: rows[0], "last": lambda rows: rows[-1]}


class Plain:
    """A feed of the light trunk's states that counts the rows it has handed out."""

    def __init__(self, encoded, dtype):
        self.encoded, self.dtype, self.given = encoded, dtype, 0
        self.lengths, self.layers, self.hidden_size = encoded.lengths, (0, 1, 2), 8

    def feed(self, sequences, layers, receive):
        ids = np.concatenate([self.encoded.ids[self.encoded.offsets[s] : self.encoded.offsets[s + 1]] for s in sequences])
        for layer in sorted(layers):
            self.given += len(ids)
            receive(layer, light_state(ids, layer, 8).to(self.dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("pooling", PICK)
@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=40), data=st.data())
def test_a_row_for_each_sequence_is_what_numpy_makes_of_its_tokens(pooling, dtype, lengths, data):
    encoded = light_corpus(lengths)
    plain = Plain(encoded, dtype)
    pooled = PooledStates(plain, (0, 2), pooling)
    assert plain.given == 2 * len(encoded.ids), "each token of each layer is read once"
    asked = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=10))
    found = feed(pooled, asked, (2, 0))
    for layer, rows in found.items():
        states = light_state(encoded.ids, layer, 8).to(dtype).double().numpy()
        expected = [PICK[pooling](states[encoded.offsets[s] : encoded.offsets[s + 1]]) for s in asked]
        assert rows.dtype == torch.float32
        np.testing.assert_allclose(rows.numpy(), expected, rtol=1e-5, atol=1e-6)
        assert torch.equal(pooled.of(np.array(asked))(layer), rows)
    assert pooled.lengths.tolist() == [1] * len(lengths) and (pooled.layers, pooled.hidden_size) == ((0, 2), 8)
    assert plain.given == 2 * len(encoded.ids)
    assert sum(states.numel() * 4 for states in pooled._states.values()) == pooled_bytes(len(lengths), 8, 2)
