"""One bar for each layer that is read alone, beside the branch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from trunkline.pictures.figure import BAR, GREY, LABEL, LIGHT, SMALL, Panel, headed, plain, titles_width

KIND = "each layer alone"
WIDE = 26  # layers up to which each bar has its number


def single_layers(
    task: str, metric: str, split: str, rows: Sequence[Mapping[str, Any]], branch: Mapping[str, Any], chosen: int | None
) -> Panel:
    """A panel for one task.

    Args:
        task: for the title.
        metric: what the bars are.
        split: "test", or "validation" where there is no test split: whose scores the bars are.
        rows: for each layer its `layer` and its scores on `validation` and `test`, None where undefined.
        branch: its `name` and the same scores.
        chosen: the layer with the best score on validation.
    """
    each = 0.34 if len(rows) <= WIDE else 0.14
    width = max((len(rows) + 2.5) * each + 0.8, 4.0, titles_width([task], KIND) + 0.6)
    return Panel(_drawing(task, metric, split, rows, branch, chosen), width, 3.3)


def _drawing(
    task: str, metric: str, split: str, rows: Sequence[Mapping[str, Any]], branch: Mapping[str, Any], chosen: int | None
) -> Callable[[Axes], None]:
    layers = [row["layer"] for row in rows]
    places = [*layers, max(layers) + 2]
    scores = [float("nan") if row[split] is None else row[split] for row in (*rows, branch)]
    wide = len(layers) <= WIDE

    def draw_on(axes: Axes) -> None:
        colours = [LIGHT] * len(layers) + [BAR]
        bars = axes.bar(places, scores, width=0.8, color=colours, edgecolor="black", linewidth=0.4, label=split)
        for layer, bar in zip(layers, bars, strict=False):
            if layer == chosen:
                bar.set_hatch("///")
        if wide:
            axes.bar_label(bars, ["" if score != score else f"{score:.3f}" for score in scores], fontsize=SMALL - 1,
                           padding=3, rotation=90)  # fmt: skip
        drawn: list[Any] = [bars]
        if split != "validation":
            own = [row["validation"] for row in (*rows, branch)]
            known = [(place, score) for place, score in zip(places, own, strict=True) if score is not None]
            drawn += axes.plot(
                *zip(*known, strict=True), linestyle="", marker="_", color="black", markersize=7, label="validation"
            )
        axes.axhline(scores[-1], color=GREY, linestyle=":", linewidth=1.2, zorder=0)
        known_scores = [score for score in scores if score == score]
        axes.set_ylim(min(0.0, *known_scores), max([0.0, *known_scores]) * 1.22)
        axes.set_xlim(min(places) - 0.7, max(places) + 1.2)
        shown = [layer for layer in layers if wide or layer % 5 == 0]
        axes.set_xticks([*shown, places[-1]], [*map(str, shown), branch["name"]])
        plain(axes)
        axes.set_xlabel("layer read alone (hatched: best on validation)", fontsize=LABEL)
        axes.set_ylabel(f"{metric} ({split})", fontsize=LABEL)
        axes.legend(handles=drawn, fontsize=SMALL, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, frameon=False)
        headed(axes, task, KIND)

    return draw_on
