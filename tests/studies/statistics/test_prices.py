"""Quality against price: the Pareto front and the number of tasks that sharing a trunk pays from, both against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.errors import BadInput
from trunkline.studies.statistics import Price, break_even, pareto_front

small = st.integers(0, 3)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(small, small, small), min_size=1, max_size=8), st.booleans())
def test_front_is_what_nothing_dominates(methods, greater):
    def dominates(one, other):
        quality = one[0] - other[0] if greater else other[0] - one[0]
        gains = [quality, *(b - a for a, b in zip(one[1:], other[1:], strict=True))]
        return min(gains) >= 0 and max(gains) > 0

    expected = [not any(dominates(other, one) for other in methods) for one in methods]
    quality, costs = [one[0] for one in methods], [one[1:] for one in methods]
    assert pareto_front(quality, costs, greater_is_better=greater).tolist() == expected


def test_front_of_one_cost():
    assert pareto_front([0.9, 0.8, 0.8, 0.7], [10, 3, 3, 5]).tolist() == [True, True, True, False]


def test_methods_that_cannot_be_placed_are_refused():
    with pytest.raises(BadInput, match="found a method with an unknown quality or cost"):
        pareto_front([0.9, np.nan], [1, 2])
    with pytest.raises(BadInput, match="found 2 qualities and 3 costs"):
        pareto_front([0.9, 0.8], [1, 2, 3])


eighths = st.integers(0, 40).map(lambda number: number / 8)


@settings(max_examples=50, deadline=None)
@given(eighths, eighths, eighths, eighths)
def test_break_even_is_the_first_number_of_tasks_from_which_on_it_is_cheaper(fixed, per_task, other_fixed, other_per_task):
    """With eighths up to 5, sides that cross do so before 41 tasks."""
    cheaper = [fixed + n * per_task < other_fixed + n * other_per_task for n in range(1, 200)]
    always = [n for n in range(1, 150) if all(cheaper[n - 1 :])]
    assert break_even(Price(fixed, per_task), Price(other_fixed, other_per_task)) == (always[0] if always else None)


def test_break_even_of_times_and_of_bytes():
    assert break_even(Price(10.0, 0.5), Price(0, 10.0)) == 2  # 11 s against 20 s, where one task takes 10.5 against 10
    assert break_even(Price(10.0, 10.0), Price(0, 10.0)) is None  # branches as slow as a trunk: never
    assert break_even(Price(90_000_000, 400_000), Price(90_000_000, 300_000)) is None  # LoRA without merging, smaller


def test_prices_that_cannot_be_are_refused():
    for price, key in (((-1, 0), "fixed"), ((0, float("nan")), "per_task")):
        with pytest.raises(BadInput, match=f"^{key}: found"):
            Price(*price)
