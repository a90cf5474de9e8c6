"""Rows of a cache that changed places are known again by their keys alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DynamicCache, EncoderDecoderCache

from trunkline.errors import BadInput
from trunkline.model.attached.rows import Rows, digests

WIDTH = 4


def cached(histories: np.ndarray, sources: np.ndarray, deep: bool) -> EncoderDecoderCache:
    """What a decoder's cache holds of rows of token ids (B, T) beside sources (B,): one block, or one that sees all before."""
    table = torch.randn(9, 2, WIDTH, generator=torch.Generator().manual_seed(0))
    keys = table[torch.from_numpy(histories)].transpose(1, 2)  # (B, 2, T, d)
    keys = keys.cumsum(2) if deep else keys
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    cache.self_attention_cache.update(keys, keys, 0)
    beside = table[torch.from_numpy(sources)][:, :, None]
    cache.cross_attention_cache.update(beside, beside, 0)
    return cache


@settings(max_examples=50, deadline=None)
@given(
    st.integers(2, 5).flatmap(lambda rows: st.lists(st.tuples(*[st.integers(0, 2)] * 4), min_size=rows, max_size=rows)),
    st.lists(st.integers(0, 20), min_size=1, max_size=7),
    st.booleans(),
    st.data(),
)
def test_each_row_is_one_that_held_the_same(before, picked, deep, data):
    """Tokens of which there are few, so that many rows have some of them in common; the last number of a row is its source."""
    held = np.array(before, np.int64)
    histories, sources = held[:, :3], held[:, 3]
    known = Rows(cached(histories[:, :2], sources, deep), 2, 1)
    known.add(cached(histories, sources, deep), 3)
    for _ in range(2):  # the rows are then those of the cache
        order = np.array(picked, np.int64) % len(held)
        held = held[order]
        origins = known.follow(cached(held[:, :3], held[:, 3], deep), lambda rows: True)
        assert origins.shape == order.shape
        assert np.array_equal(np.array(before, np.int64)[origins], held)
        before, picked = held.tolist(), data.draw(st.permutations(range(len(held))))


def test_what_cannot_be_told_is_refused():
    histories, sources = np.array([[1, 2], [1, 2]]), np.array([0, 0])
    known = Rows(cached(histories, sources, False), 2, 1)
    assert known.follow(cached(histories, sources, False), lambda rows: True).tolist() == [0, 1]
    with pytest.raises(BadInput, match="cannot be told from each other, as several have the same keys; expected another cache"):
        known.follow(cached(histories, sources, False), lambda rows: False)
    with pytest.raises(BadInput, match="in an order that cannot be followed"):
        known.follow(cached(histories[:, ::-1].copy(), sources, False), lambda rows: True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float64], ids=str)
def test_digests_are_equal_where_all_bits_are(dtype):
    bits = torch.randn(40, 2, 3, WIDTH, generator=torch.Generator().manual_seed(0)).mul(0.3).round().to(dtype)  # some are equal
    raw = bits.transpose(1, 2).contiguous().view(torch.uint8).numpy().reshape(120, -1)
    found = digests(bits).reshape(120, 2)
    expected = (raw[:, None] == raw[None]).all(2)
    assert expected.sum() > 120 and np.array_equal((found[:, None] == found[None]).all(2), expected)
