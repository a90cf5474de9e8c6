"""A number of each layer as bars: nu, or what a method has measured or chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from trunkline.pictures.figure import BAR, LABEL, LIGHT, SMALL, Panel, headed, plain, titles_width

WIDE = 26  # layers up to which each has its number


def by_layer(task: str, kind: str, values: Mapping[int, float], unit: str = "", lowest: bool = False) -> Panel:
    """A panel of bars.

    Args:
        task, kind: of the title.
        values: by layer.
        unit: of the values, for their axis; `kind` by default.
        lowest: the lowest is the best: it has the dark bar, and the axis is logarithmic.
    """
    width = max(len(values) * (0.3 if len(values) <= WIDE else 0.12) + 0.8, 2.6, titles_width([task], kind) + 0.6)
    return Panel(_drawing(task, kind, values, unit or kind, lowest), width, 2.8)


def _drawing(task: str, kind: str, values: Mapping[int, float], unit: str, lowest: bool) -> Callable[[Axes], None]:
    layers = list(values)
    best = min(values.values()) if lowest else None

    def draw_on(axes: Axes) -> None:
        colours = [BAR if best is None or value == best else LIGHT for value in values.values()]
        bars = axes.bar(layers, list(values.values()), color=colours, width=0.8, edgecolor="black", linewidth=0.4)
        if best is not None and best > 0:
            axes.set_yscale("log")
            axes.set_ylim(best / 2, max(values.values()) * 1.6)
            axes.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
        if len(layers) <= WIDE:
            said = [f"{value:.2g}" for value in values.values()]
            axes.bar_label(bars, said, fontsize=SMALL - 1, padding=1, rotation=90 if len(layers) > 8 else 0)
            axes.margins(y=0.2)
        axes.set_xlim(min(layers) - 0.6, max(layers) + 0.6)
        axes.set_xticks([layer for layer in layers if len(layers) <= WIDE or layer % 5 == 0])
        plain(axes)
        axes.set_xlabel("layer", fontsize=LABEL)
        axes.set_ylabel(unit, fontsize=LABEL)
        headed(axes, task, kind)

    return draw_on
