from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.inputs.batching import Layout, divided, fitting_tokens, padding_share, token_batches

SETTINGS = settings(max_examples=50, deadline=None)
LENGTHS = st.lists(st.integers(1, 60), max_size=80)


@SETTINGS
@given(
    LENGTHS, st.none() | st.integers(1, 200), st.none() | st.integers(1, 9), st.none() | st.integers(0, 5), st.integers(0, 3)
)
def test_every_sequence_is_in_one_batch_that_keeps_the_budget(lengths, tokens, size, seed, epoch):
    if tokens is None and size is None:
        return
    batches = token_batches(lengths, tokens=tokens, size=size, seed=seed, epoch=epoch)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) >= 1 and (size is None or len(batch) <= size)
        longest = max(lengths[i] for i in batch)
        assert tokens is None or longest * len(batch) <= tokens or len(batch) == 1
        assert lengths[batch[0]] == longest
    again = token_batches(lengths, tokens=tokens, size=size, seed=seed, epoch=epoch)
    assert [b.tolist() for b in again] == [b.tolist() for b in batches]
    if seed is None:
        order = [lengths[i] for batch in batches for i in batch]
        assert order == sorted(order, reverse=True)


@SETTINGS
@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(1, 4)), min_size=1, max_size=60),
    st.none() | st.integers(1, 300),
    st.integers(1, 9),
    st.none() | st.integers(0, 5),
)
def test_what_stands_for_several_sequences_is_not_divided_and_counts_as_so_many(texts, tokens, size, seed):
    lengths, counts = np.array(texts).T
    batches = token_batches(lengths, tokens=tokens, size=size, seed=seed, counts=counts)
    assert sorted(i for batch in batches for i in batch) == list(range(len(texts)))
    for batch in batches:
        assert len(batch) <= size and lengths[batch[0]] == lengths[batch].max()
        assert tokens is None or lengths[batch].max() * counts[batch].sum() <= tokens or len(batch) == 1
    alone = token_batches(lengths, tokens=tokens, size=size, seed=seed)
    ones = token_batches(lengths, tokens=tokens, size=size, seed=seed, counts=np.ones_like(lengths))
    assert [batch.tolist() for batch in ones] == [batch.tolist() for batch in alone]


@SETTINGS
@given(LENGTHS.filter(len), st.none() | st.integers(1, 200), st.none() | st.integers(1, 9))
def test_a_batch_is_divided_in_its_order_into_as_few_runs_as_the_bounds_allow(lengths, tokens, size):
    runs = divided(lengths, tokens=tokens, size=size)
    assert [i for begin, end in runs for i in range(begin, end)] == list(range(len(lengths)))

    def fits(begin, end):
        count = end - begin
        return count == 1 or (max(lengths[begin:end]) * count <= (tokens or 10**9) and count <= (size or 10**9))

    assert all(begin < end and fits(begin, end) for begin, end in runs)
    assert not any(fits(begin, end + 1) for begin, end in runs[:-1])


def test_a_budget_is_used_up():
    """No batch could have taken the next sequence too: as few batches as this order allows."""
    lengths = np.random.default_rng(0).integers(1, 60, 500)
    batches = token_batches(lengths, tokens=256)
    for batch, following in pairwise(batches):
        assert lengths[batch[0]] * (len(batch) + 1) > 256 and lengths[following[0]] <= lengths[batch[-1]]


def test_neither_limit_is_an_error_and_no_sequences_no_batches():
    with pytest.raises(ValueError):
        token_batches([1, 2])
    assert token_batches([], tokens=8) == [] and token_batches([], tokens=8, seed=1) == []
    assert padding_share([], []) == 0.0


def emotion_like(n=16_000):
    """Token counts with the mean, spread and longest of the Emotion training texts under a word-piece tokenizer."""
    rng = np.random.default_rng(0)
    return np.clip(np.round(rng.gamma(3.5, 20.3 / 3.5, n)) + 2, 4, 89).astype(int)


def test_little_padding_while_shuffled():
    lengths = emotion_like()
    for epoch in range(3):
        batches = token_batches(lengths, tokens=2048, seed=0, epoch=epoch)
        assert padding_share(lengths, batches) < 0.05
    in_order = [np.arange(i, min(i + 92, len(lengths))) for i in range(0, len(lengths), 92)]
    assert padding_share(lengths, in_order) > 0.5  # what it would be without grouping


def test_batches_vary_from_epoch_to_epoch():
    lengths = emotion_like(2000)
    epochs = [token_batches(lengths, tokens=512, seed=3, epoch=epoch) for epoch in range(2)]
    together = [{frozenset((i, j)) for b in batches for i in b for j in b if i < j} for batches in epochs]
    assert len(together[0] & together[1]) < 0.5 * len(together[0])
    first = [lengths[batch[0]] for batch in epochs[0]]
    assert abs(np.corrcoef(first, np.arange(len(first)))[0, 1]) < 0.3  # short and long batches come mixed
    other = token_batches(lengths, tokens=512, seed=4, epoch=0)
    assert [b.tolist() for b in other] != [b.tolist() for b in epochs[0]]


def test_a_dozen_batches_vary_too():
    lengths = np.arange(10, 110)  # no ties, so one pool would give the same batches for ever
    epochs = [token_batches(lengths, tokens=512, seed=0, epoch=epoch) for epoch in range(2)]
    assert len(epochs[0]) >= 8
    assert len({frozenset(b.tolist()) for b in epochs[0]} & {frozenset(b.tolist()) for b in epochs[1]}) <= 2


def test_padding_share_by_hand():
    assert padding_share([4, 2, 3], [np.array([0, 1]), np.array([2])]) == pytest.approx(1 - 9 / 11)


SIZES = st.lists(st.integers(0, 6), min_size=1, max_size=7)


@SETTINGS
@given(SIZES, st.integers(0, 2))
def test_layout_against_plain_loops(sizes, extra):
    layout = Layout(torch.tensor(sizes))
    shape = (3, 2)[:extra]
    rows = torch.arange(sum(sizes) * int(np.prod(shape)), dtype=torch.float32).view(-1, *shape) + 1
    parts = list(torch.split(rows, sizes))
    longest = max(sizes)
    expected = torch.zeros(len(sizes), longest, *shape)
    mask = torch.zeros(len(sizes), longest, dtype=torch.bool)
    for i, part in enumerate(parts):
        expected[i, : len(part)] = part
        mask[i, : len(part)] = True
    assert torch.equal(layout.pad(rows), expected)
    assert torch.equal(layout.mask, mask)
    assert torch.equal(layout.unpad(expected), rows)
    assert layout.total == len(rows) and layout.longest == longest
    assert layout.starts.tolist() == [sum(sizes[:i]) for i in range(len(sizes))]
    assert layout.sequence_of.tolist() == [i for i, size in enumerate(sizes) for _ in range(size)]
    if len(shape) == 1:
        means = torch.stack([part.mean(0) if len(part) else torch.zeros(shape) for part in parts])
        torch.testing.assert_close(layout.mean(rows), means)


def test_gradients_reach_rows_and_stop_at_padding():
    layout = Layout(torch.tensor([2, 4, 1]))
    rows = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layout.pad, rows)
    assert torch.autograd.gradcheck(layout.mean, rows)
    padded = torch.randn(3, 4, 3, requires_grad=True)
    layout.unpad(padded).sum().backward()
    assert torch.equal(padded.grad, layout.mask[..., None].expand(3, 4, 3).float())


@pytest.mark.parametrize(
    ("count", "length", "batches"),
    [
        (1200, 10, 64),
        (100, 10, 13),
        (8900, 10, 64),
        (100_000, 12, 586),
        (30, 10, 4),
        (1, 3, 1),
        (5000, 200, 500),
        (64, 9000, 64),
    ],
)
def test_little_data_has_steps_enough_in_an_epoch(count, length, batches):
    """About 64 batches: fewer only for fewer than 8 texts a batch, more only for more than 2,048 tokens or 8 long texts."""
    lengths = np.full(count, length)
    found = len(token_batches(lengths, tokens=fitting_tokens(lengths), seed=0))
    assert batches <= found <= batches * 1.1


@SETTINGS
@given(st.lists(st.integers(1, 600), min_size=1, max_size=60))
def test_fitting_tokens_are_within_their_bounds(lengths):
    tokens = fitting_tokens(lengths)
    assert 8 <= tokens <= 4096 and tokens >= min(4096, 8 * sum(lengths) / len(lengths))
