"""The share of each layer, as in the AdaLayers document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from matplotlib.axes import Axes

from trunkline.pictures.figure import BAR, GREY, LABEL, SMALL, Panel, headed, plain, titles_width
from trunkline.training.result import weighs_layers

KIND = "share of each layer"


def layers(tasks: Mapping[str, Mapping[str, Any]]) -> list[Panel]:
    """A panel of bars for each task with several `layers` {layer: share}, of which it `reads` some; all on the same axes."""
    weighed = {name: task for name, task in tasks.items() if weighs_layers(task)}
    if not weighed:
        return []
    shares = {name: {int(layer): share for layer, share in task["layers"].items()} for name, task in weighed.items()}
    numbers = sorted({layer for row in shares.values() for layer in row})
    largest = max(share for row in shares.values() for share in row.values())
    wide = len(numbers) <= 26  # room for a number at every layer and over every bar

    def panel(task: str) -> Callable[[Axes], None]:
        row, reads = shares[task], set(weighed[task]["reads"])

        def draw_on(axes: Axes) -> None:
            bars = axes.bar(list(row), list(row.values()), color=BAR, width=0.8)
            if wide:
                noted = [f"{share:.0%}" if share >= 0.005 else "" for share in row.values()]
                axes.bar_label(bars, noted, fontsize=SMALL - 0.5, padding=1)
            axes.set_xlim(numbers[0] - 0.6, numbers[-1] + 0.6)
            axes.set_ylim(0, 1.1 * largest)
            shown = [layer for layer in sorted(row) if wide or layer % 5 == 0]
            axes.set_xticks(shown, [str(layer) for layer in shown])
            plain(axes)
            for layer, label in zip(shown, axes.get_xticklabels(), strict=True):
                label.set_color("black" if layer in reads else GREY)
            axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
            axes.set_ylabel("share", fontsize=LABEL)
            axes.set_xlabel("layer" if reads >= set(row) else "layer (grey: not read)", fontsize=LABEL)
            headed(axes, task, KIND)

        return draw_on

    span = numbers[-1] - numbers[0] + 1
    width = max(span * (0.26 if wide else 0.12) + 0.9, 2.4, titles_width(weighed, KIND) + 0.6)
    return [Panel(panel(task), width, 2.6) for task in weighed]
