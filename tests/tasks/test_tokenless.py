"""Runs of words without a token are decoded at their ends only; texts without long runs are decoded as they are."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from trunkline.tasks import stopping
from trunkline.tasks.answers import SURE
from trunkline.tasks.token import TokenCriterion
from trunkline.tasks.tokenless import ENDS, decoded_units, filled, offsets_among

RUN = 4 * ENDS


def drawn(tokens, seed=0):
    """Logits of units, SURE where they have no token."""
    logits = torch.randn(len(tokens), 5, generator=torch.Generator().manual_seed(seed)) * 2
    logits[~torch.tensor(tokens, dtype=torch.bool)] = torch.tensor([SURE, 0, 0, 0, 0])
    return logits


@given(
    st.lists(st.lists(st.tuples(st.booleans(), st.sampled_from([1, 3, 2 * ENDS, 2 * ENDS + 1, 150])), max_size=4), max_size=4)
)
def test_the_middle_of_long_runs_is_left_out(texts):
    units = [[kind for kind, count in runs for _ in range(count)] for runs in texts]
    offsets = np.cumsum([0, *map(len, units)])
    expected = []
    for text in units:
        for token, run in itertools.groupby(text):
            size = len(list(run))
            expected += [token or place < ENDS or place >= size - ENDS for place in range(size)]
    flat = [unit for text in units for unit in text]
    found = decoded_units(drawn(flat), offsets) if flat else None
    assert expected == (found.tolist() if found is not None else [True] * len(flat))
    if found is not None:
        assert (
            offsets_among(found, offsets).tolist()
            == np.cumsum([0, *(sum(part) for part in np.split(found, offsets[1:-1]))]).tolist()
        )
        values = torch.arange(len(flat))
        assert filled(values[torch.from_numpy(found)], found, torch.tensor(-1)).tolist() == [
            number if kept else -1 for number, kept in enumerate(expected)
        ]


def test_answers_are_those_of_the_whole_chain():
    tokens = [1, 1, 0, 1, *[0] * RUN, 1, 1, 1, *[0] * 2 * RUN, 1, *[0] * 3 * RUN]
    logits, offsets = drawn(tokens), np.array([0, 3, len(tokens) - RUN, len(tokens)])
    criterion = TokenCriterion(2, True, 0.0)
    with torch.no_grad():
        for weights in criterion.parameters():
            weights.copy_(torch.randn(weights.shape, generator=torch.Generator().manual_seed(1)))
    assert decoded_units(logits, offsets).sum() < len(tokens) / 2
    tags, scores = criterion.crf.decode(logits, torch.from_numpy(offsets))
    found = criterion.decode(logits, offsets)
    assert (found.values == tags.numpy()).all() and np.abs(found.scores - scores.numpy()).max() < 1e-6
    shares = criterion.probabilities(logits, offsets)
    assert np.abs(shares - criterion.crf.marginals(logits, torch.from_numpy(offsets)).numpy()).max() < 1e-6
    warmer = criterion.decode(logits, offsets, temperature=2.0)
    expected = criterion.probabilities(logits, offsets, temperature=2.0)[np.arange(len(tokens)), tags.numpy()]
    assert (warmer.values == found.values).all() and (warmer.scores == expected).all()


def test_what_nobody_waits_for_is_given_up(monkeypatch):
    monkeypatch.setattr(stopping, "EVERY", 10)
    asked = []

    def enough():
        asked.append(1)
        return len(asked) > 3

    criterion, logits = TokenCriterion(2, True, 0.0), drawn([1] * 100)
    with stopping.stopping(enough):
        try:
            criterion.decode(logits, np.array([0, 100]))
        except stopping.Stopped:
            asked.append("stopped")
    assert asked == [1, 1, 1, 1, "stopped"]
    assert len(criterion.decode(logits, np.array([0, 100])).values) == 100
