"""What each layer of each token added to the logit of a label, as a map with signed numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes

from trunkline.pictures.figure import LABEL, SMALL, TINY, Panel, headed, short, text_width, titled, titles_width
from trunkline.pictures.heat import heat

KIND = "contributions"
MOST_TOKENS = 60
NUMBERED = 26  # layers up to which cells have their numbers


def contributions(
    label: str, tokens: Sequence[str], layers: Sequence[int], values: Sequence[Sequence[float]], right: str | None = None
) -> Panel:
    """A panel for one text and label.

    Args:
        label: for the title.
        tokens: T, as the tokenizer spells them; the first MOST_TOKENS are drawn.
        layers: L, rising.
        values: T rows of L numbers. The darker a cell, the larger its number, whatever its sign, which the number in it has.
        right: the right label, for the title, where it is known.
    """
    kind = titled(KIND, right)
    tokens, values = list(tokens[:MOST_TOKENS]), list(values[:MOST_TOKENS])
    numbered = len(layers) <= NUMBERED
    names = [short(token) for token in tokens]
    widest = max(text_width(name, SMALL) for name in names)
    cell = 0.36 if numbered else 0.12
    width = widest + 0.6 + max(cell * len(layers), titles_width([label], kind))
    return Panel(_drawing(label, kind, names, layers, values, numbered), width, 0.19 * len(tokens) + 0.9)


def _drawing(
    label: str, kind: str, names: Sequence[str], layers: Sequence[int], values: Sequence[Sequence[float]], numbered: bool
) -> Callable[[Axes], None]:
    sizes = [[abs(value) for value in row] for row in values]
    largest = max(max(row) for row in sizes) or 1.0

    def shown(i: int, j: int) -> str:
        said = f"{values[i][j]:+.2f}"
        return "" if said in ("+0.00", "-0.00") else said

    def draw_on(axes: Axes) -> None:
        columns = [str(layer) if numbered or layer % 5 == 0 else "" for layer in layers]
        texts = heat(axes, sizes, names, columns, (0.0, largest), shown if numbered else None, size=SMALL, slant=0)
        for row in texts:
            for text in row:
                text.set_fontsize(TINY)
        axes.set_ylabel("token", fontsize=LABEL)
        axes.set_xlabel("layer", fontsize=LABEL)
        axes.xaxis.set_label_position("top")
        headed(axes, label, kind)

    return draw_on
