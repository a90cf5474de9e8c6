"""The distribution over layers at each evaluation of a training, as a map: layers upwards, time to the right."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation

from trunkline.pictures.figure import LABEL, SMALL, Panel, headed, titles_width
from trunkline.pictures.heat import COLOURS

KIND = "share of each layer over training"
MOST = 26  # layers up to which each has its number
TICKS = 8  # numbers of evaluations at most


def history(
    task: str,
    places: Sequence[int],
    shares: Sequence[Sequence[float]],
    layers: Sequence[int],
    by: str,
    best: int | None = None,
) -> Panel:
    """A panel for one task.

    Args:
        task: for the title.
        places: the epoch or step of each evaluation, rising.
        shares: by layer, a share for each evaluation.
        layers: their numbers, rising.
        by: "epoch" or "step".
        best: which evaluation has the weights that were kept.
    """
    high = max(len(layers) * (0.2 if len(layers) <= MOST else 0.08), 1.6)
    return Panel(_drawing(task, places, shares, layers, by, best), max(4.4, titles_width([task], KIND) + 0.8), high + 1.1)


def _drawing(
    task: str, places: Sequence[int], shares: Sequence[Sequence[float]], layers: Sequence[int], by: str, best: int | None
) -> Callable[[Axes], None]:
    step = max(1, math.ceil(len(places) / TICKS))

    def draw_on(axes: Axes) -> None:
        largest = max(max(row) for row in shares) or 1.0
        mesh = axes.pcolormesh(shares, cmap=matplotlib.colormaps[COLOURS], vmin=0.0, vmax=largest)
        axes.set_xlim(0, len(places))
        axes.set_ylim(0, len(layers))
        shown = range(0, len(places), step)
        axes.set_xticks([place + 0.5 for place in shown], [str(places[place]) for place in shown])
        rows = [row for row, layer in enumerate(layers) if len(layers) <= MOST or layer % 5 == 0]
        axes.set_yticks([row + 0.5 for row in rows], [str(layers[row]) for row in rows])
        axes.tick_params(labelsize=SMALL, length=2)
        if best is not None:
            above = axes.get_xaxis_transform() + ScaledTranslation(0, 3 / 72, axes.figure.dpi_scale_trans)
            axes.plot(best + 0.5, 1, marker="v", color="black", markersize=5, clip_on=False, zorder=5, transform=above)
        bar = axes.figure.colorbar(mesh, ax=axes, fraction=0.05, pad=0.03, format=lambda share, _: f"{100 * share:.3g}%")
        bar.ax.tick_params(labelsize=SMALL)
        bar.set_label("share of the layer", fontsize=LABEL)
        axes.set_xlabel(by, fontsize=LABEL)
        axes.set_ylabel("layer", fontsize=LABEL)
        headed(axes, task, KIND)

    return draw_on
