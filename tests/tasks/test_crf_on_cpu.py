"""Few chains on a CPU are decoded by loops of their own, with the bits of those that a GPU and many chains have."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.tasks import crf as under_test
from trunkline.tasks.crf import CRF
from trunkline.tasks.token import rules


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=6),
    types=st.integers(1, 5),
    seed=st.integers(0, 1000),
    coarse=st.booleans(),
)
def test_no_bit_is_another_one(lengths, types, seed, coarse):
    """Also where scores are the same, of which the first is taken: `coarse` ones are whole numbers from -1 to 1."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape):
        return (
            torch.randint(-1, 2, shape, generator=generator).float() if coarse else torch.randn(shape, generator=generator) * 5
        )

    made = CRF(1 + 2 * types, *rules(types))
    with torch.no_grad():
        for weights in made.parameters():
            weights.copy_(drawn(*weights.shape))
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    emissions = drawn(sum(lengths), 1 + 2 * types)
    found, before = [], under_test._FEW
    try:
        for under_test._FEW in (1 << 30, 0):
            found.append([*made.decode(emissions, offsets), made.marginals(emissions, offsets)])
    finally:
        under_test._FEW = before
    assert all(torch.equal(few, many) for few, many in zip(*found, strict=True))
