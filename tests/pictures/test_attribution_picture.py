"""Words shaded by their attributions: each in its box, none over another, signs told apart without colours."""

from __future__ import annotations

import numpy as np
import pytest
from drawn import inside, panels

from trunkline.pages.section import drawn
from trunkline.pictures.attributions import MOST_WORDS, attributions

WORDS = ["so", "good", ",", "the", "film", "extraordinarily" * 2, "été", "w", "$x$", "awful"]


@pytest.mark.parametrize("count", [1, 85])
def test_words_are_in_boxes_that_do_not_meet(count):
    words, values = (WORDS * 20)[:count], np.random.default_rng(0).normal(size=count).tolist()
    figure = drawn(attributions("joy", words, values))
    assert inside(figure)
    axes = panels(figure)[0]
    drawn_words = min(count, MOST_WORDS)
    assert len(axes.patches) == drawn_words and axes.get_title() == "joy: attributions of words"
    texts = [text for text in axes.texts if text.get_text()]
    assert [text.get_text() for text in texts[1::2]] == [f"{value:+.2f}" for value in values[:drawn_words]]
    boxes = [patch.get_window_extent() for patch in axes.patches]
    for box, word, number in zip(boxes, texts[::2], texts[1::2], strict=True):
        own, below = word.get_window_extent(), number.get_window_extent()
        assert box.x0 <= own.x0 and own.x1 <= box.x1 and box.y0 <= own.y0 + 1 and own.y1 <= box.y1 + 1
        assert box.x0 - 1 <= below.x0 and below.x1 <= box.x1 + 1 and below.y1 <= box.y0 + 1
        assert not any(other is not box and below.overlaps(other) for other in boxes)
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


def test_the_darker_the_more_and_dashed_is_against():
    axes = panels(drawn(attributions("joy", ["a", "b", "c"], [1.0, -0.5, 0.0])))[0]
    lightness = [sum(patch.get_facecolor()[:3]) for patch in axes.patches]
    assert lightness[0] < lightness[1] < lightness[2] == 3
    assert [patch.get_linestyle() == "-" or patch.get_linestyle() == "solid" for patch in axes.patches] == [True, False, True]
    assert [text.get_color() for text in axes.texts[::2]] == ["white", "black", "black"]
    drawn(attributions("joy", [], []))  # a text without words
