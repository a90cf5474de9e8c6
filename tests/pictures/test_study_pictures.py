"""Pictures of a study: marks lie where the numbers say, and what is far behind does not press the others together."""

from __future__ import annotations

import numpy as np
import pytest
from drawn import inside, names
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.pages.section import drawn
from trunkline.pictures import focus
from trunkline.pictures.by_rows import MOST, Trained, by_rows, drawn_methods
from trunkline.pictures.fronts import Priced, front, thinned
from trunkline.pictures.intervals import Measured, intervals

HOSTILE = "$x_1$ \\frac{1}{0} <b> 감정"
pytestmark = pytest.mark.filterwarnings("ignore:Glyph")
SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@settings(max_examples=50, deadline=None)
@given(SCORES, st.booleans())
def test_an_axis_ends_below_the_better_half_at_a_gap_wider_than_what_is_above(scores, higher):
    end = focus.limit(scores, higher)
    if end is None:
        return
    kept = [score for score in scores if not focus.off(score, end, higher)]
    rest = [score for score in scores if focus.off(score, end, higher)]
    assert end in kept and rest and 2 * len(kept) >= len(scores) and len(kept) >= 3
    gap = min(kept) - max(rest) if higher else min(rest) - max(kept)
    assert gap > max(kept) - min(kept)
    low, high = focus.span(scores, end, higher)
    assert low < min(kept) and max(kept) < high and all(not low <= score <= high for score in rest if gap > 0.2)


def test_lower_may_be_better():
    scores = [0.1, 0.12, 0.15, 0.9]
    assert focus.limit(scores, higher_is_better=False) == 0.15
    assert focus.limit([-score for score in scores]) == -0.15
    assert focus.limit([0.9, 0.91, 0.92]) is None  # close together


def test_means_lie_between_the_ends_of_their_intervals():
    methods = [
        Measured("floor", 0.1, 0.05, 0.15, floor=True),
        Measured(HOSTILE, 0.8, 0.78, 0.83, (0.79, 0.81)),
        Measured("best", 0.9, 0.88, 0.91, best=True),
        Measured("no interval", 0.85),
    ]
    figure = drawn(intervals("intent", "accuracy on test", HOSTILE, methods))
    (axes,) = figure.axes
    assert names(axes.yaxis) == [one.name for one in methods] and axes.get_xlabel() == HOSTILE
    low, high = axes.get_xlim()
    assert 0.15 < low < 0.78 and high > 0.91  # the floor is off, and written at the edge
    assert [text.get_text().strip() for text in axes.texts] == ["◂ 0.1"]
    bars = [line.get_xdata() for container in axes.containers for line in [container.lines[0]]]
    assert [float(one[0]) for one in bars] == [0.8, 0.9, 0.85]
    ends = [container.lines[2][0].get_segments()[0][:, 0].tolist() for container in axes.containers]
    np.testing.assert_allclose(ends, [[0.78, 0.83], [0.88, 0.91], [0.85, 0.85]])
    runs = [line.get_xdata() for line in axes.lines if line.get_marker() == "|" and len(line.get_xdata()) == 2]
    assert any(np.allclose(one, (0.79, 0.81)) for one in runs)
    assert inside(figure)


def test_lines_over_training_rows_have_the_same_look_whichever_are_shown():
    methods = {f"method {n}": [Trained(8, 0.5 + n / 100), Trained(800, 0.7 + n / 100, 0.6, 0.9)] for n in range(14)}
    floors = ["method 0"]
    shown = drawn_methods({name: points[-1].mean for name, points in methods.items()}, floors, True)
    assert shown == ["method 0", *(f"method {n}" for n in range(5, 14))] and len(shown) == MOST
    lowest = drawn_methods({name: points[-1].mean for name, points in methods.items()}, [], False)
    assert lowest == [f"method {n}" for n in range(10)]
    (whole,), (few,) = (
        drawn(by_rows("intent", HOSTILE, methods, own, floors)).axes for own in (list(methods), ["method 7", "method 13"])
    )
    looks = {
        container.get_label(): (
            container.lines[0].get_color(),
            container.lines[0].get_marker(),
            container.lines[0].get_linestyle(),
        )
        for container in whole.containers
    }
    assert len(set(looks.values())) == len(methods)
    for container in few.containers:
        line = container.lines[0]
        assert looks[container.get_label()] == (line.get_color(), line.get_marker(), line.get_linestyle())
        assert line.get_ydata().tolist() == [one.mean for one in methods[container.get_label()]]
        np.testing.assert_allclose(line.get_xdata().astype(float), [8, 800], rtol=0.1)
    assert [text.get_text() for text in few.get_xticklabels()] == ["8", "800"]


def test_the_front_is_numbered_by_cost_and_named_below():
    methods = [
        Priced("dear", 1e6, 0.9, changes_trunk=True, front=True),
        Priced(HOSTILE, 1e3, 0.8, front=True),
        Priced("beaten", 1e4, 0.75),
        Priced("near", 1.02e6, 0.901, front=True),
        Priced("floor", 2e3, 0.1, floor=True),
    ]
    figure = drawn(front("intent", "quality and trained parameters", methods, ("trained parameters", "f1"), thinned))
    (axes,) = figure.axes
    *numbers, listed = [text.get_text() for text in axes.texts]
    assert numbers == ["1", "2, 3"]  # two marks that nearly cover each other share their label
    assert listed.splitlines() == [f"1  {HOSTILE}", "2  dear", "3  near"]
    assert axes.get_xscale() == "log" and axes.lines[0].get_xdata().tolist() == [1e3, 1e6, 1.02e6]
    marks = np.concatenate([points.get_offsets() for points in axes.collections])
    assert sorted(marks[:, 0]) == sorted(one.cost for one in methods)
    assert marks[marks[:, 0] == 2e3, 1] == axes.get_ylim()[0]  # at the edge, as it is far behind
    assert inside(figure)
    alone = drawn(front("a", "b", [Priced("x", 0.5, 0.5, front=True)], ("share", "f1"), thinned))
    assert alone.axes[0].get_xscale() == "linear"


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (1, "1"), (0.25, "0.25"), (999, "999"), (1500, "1.5k"), (22_732_466, "22.7M"), (3e9, "3G")]
)
def test_numbers_of_an_axis_are_short(value, text):
    assert thinned(value) == text
