"""A text whose words are shaded by their attributions, each with its signed number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle

from trunkline.pictures.figure import SMALL, Panel, headed, short, text_width, titled, titles_width

KIND = "attributions of words"
MOST_WORDS = 80
WIDTH = 7.0  # inches of a line
PAD, GAP, BOX, LINE = 0.07, 0.05, 0.22, 0.46  # inches: beside a word in its box, between boxes, heights of a box and of a line
FOR, AGAINST = "#1f4e9c", "#c75b12"  # also told apart in grey: boxes of the second have a dashed border
BRIGHT = 0.4  # luminance of a box from which on its word is black
NUMBER = SMALL - 1


def attributions(label: str, words: Sequence[str], values: Sequence[float], right: str | None = None) -> Panel:
    """A panel for one text.

    Args:
        label: what the text speaks for or against, for the title.
        words: in order; the first MOST_WORDS are drawn.
        values: of each. The darker its box, the larger its number, whatever its sign.
        right: the right label, for the title, where it is known.
    """
    kind = titled(KIND, right)
    words, values = [short(word) for word in words[:MOST_WORDS]], list(values[:MOST_WORDS])
    numbers = [f"{value:+.2f}" for value in values]
    sizes = [
        1.08 * max(text_width(word, SMALL + 1), text_width(number, NUMBER)) + 2 * PAD
        for word, number in zip(words, numbers, strict=True)
    ]
    places, line, reached = [], 0, 0.0
    for size in sizes:
        if reached and reached + size > WIDTH:
            line, reached = line + 1, 0.0
        places.append((line, reached))
        reached += size + GAP
    width = max(WIDTH, titles_width([label], kind))
    return Panel(_drawing(label, kind, words, values, numbers, sizes, places, width), width, LINE * (line + 1) + 0.55)


def _drawing(
    label: str,
    kind: str,
    words: Sequence[str],
    values: Sequence[float],
    numbers: Sequence[str],
    sizes: Sequence[float],
    places: Sequence[tuple[int, float]],
    width: float,
) -> Callable[[Axes], None]:
    largest = max((abs(value) for value in values), default=0.0) or 1.0

    def draw_on(axes: Axes) -> None:
        for word, value, number, size, (line, left) in zip(words, values, numbers, sizes, places, strict=True):
            shade = abs(value) / largest
            colour = tuple(1 - shade * (1 - part) for part in to_rgb(FOR if value >= 0 else AGAINST))
            style: dict[str, Any] = (
                {"linestyle": "-", "linewidth": 0.5} if value >= 0 else {"linestyle": (0, (2, 1.5)), "linewidth": 1.0}
            )
            axes.add_patch(Rectangle((left, line * LINE), size, BOX, facecolor=colour, edgecolor="black", **style))
            luminance = sum(weight * part for weight, part in zip((0.299, 0.587, 0.114), colour, strict=True))
            ink = "black" if luminance >= BRIGHT else "white"
            middle = left + size / 2
            say: dict[str, Any] = {"ha": "center", "va": "center", "parse_math": False}
            axes.text(middle, line * LINE + BOX / 2, word, fontsize=SMALL + 1, color=ink, **say)
            axes.text(middle, line * LINE + BOX + 0.08, number, fontsize=NUMBER, **say)
        axes.set_xlim(-0.02, width + 0.02)
        axes.set_ylim((places[-1][0] + 1 if places else 1) * LINE, -0.04)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        headed(axes, label, kind)

    return draw_on
