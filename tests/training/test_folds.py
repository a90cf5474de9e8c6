"""Rows dealt to folds."""

from __future__ import annotations

from collections import Counter, defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.training.folds import deal_folds


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["a", "b", None])), min_size=1, max_size=60),
    st.integers(1, 6),
    st.integers(0, 5),
)
def test_equal_texts_share_a_fold_and_every_label_is_dealt_evenly(rows, folds, seed):
    keys, strata = [key for key, _ in rows], [stratum for _, stratum in rows]
    found = deal_folds(keys, strata, folds, seed)
    of_text, first = defaultdict(set), {}
    for key, stratum, fold in zip(keys, strata, found.tolist(), strict=True):
        of_text[key].add(fold)
        first.setdefault(key, (stratum, fold))
    assert all(len(own) == 1 for own in of_text.values())
    for chosen in ({None, "a", "b"}, {"a"}, {"b"}, {None}):
        sizes = Counter(fold for stratum, fold in first.values() if stratum in chosen)
        counts = [sizes[fold] for fold in range(folds)]
        assert max(counts) - min(counts) <= 1, "texts of a stratum, and all of them, differ by one at most"


def test_the_seed_draws_the_order():
    keys = list(range(100))
    one, again, other = (deal_folds(keys, None, 5, seed).tolist() for seed in (0, 0, 1))
    assert one == again != other and sorted(one) == sorted(other)
