"""Learning curves: the validation score at each evaluation, the best one marked, and the losses."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from trunkline.pictures.figure import BAR, GREY, LABEL, SMALL, Panel, headed, short, titles_width

KIND = "learning curve"
LEAST_SPAN = 0.1  # of the axis of a score; of a score without bounds, as a share of it
UNBOUNDED = {"loss", "mse", "mae"}
LOSSES = {"train_loss": ("training loss", "--"), "loss": ("validation loss", ":")}


def curves(summary: Mapping[str, Any]) -> list[Panel]:
    """A panel for each task, and for each stage that has trained it.

    Args:
        summary: result.json of a run. `history` has for each evaluation its `epoch`, its `step` and by task the metrics of
            `validation`, whether they were the `best` so far, and the mean `train_loss` since the last evaluation, if recorded.
            A task may have `tuned`, the threshold that was chosen for the best weights, with the scores (Task.tune).
    """
    traced = list(_traced(summary))
    width = max([4.2, *(titles_width([name], kind) + 1.2 for name, kind, _, _ in traced)])
    return [Panel(_drawing(*one), width, 3.2) for one in traced]


def _traced(summary: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any], list[Mapping[str, Any]]]]:
    """For each task and each stage that trained it: its name, what is shown, what the summary has of it, its evaluations."""
    stages = summary.get("stages") or [{"name": "", "history": summary.get("history", ())}]
    trained = [(stage, {name for entry in stage.get("history", ()) for name in entry["tasks"]}) for stage in stages]
    for name, task in summary["tasks"].items():
        own = [stage for stage, names in trained if name in names]
        for stage in own:
            called = stage["name"].removesuffix(f"-{name}") or stage["name"]
            kind = KIND if len(own) == 1 else f"{KIND} (stage {short(called)})"
            entries = [entry for entry in stage["history"] if name in entry["tasks"]]
            yield name, kind, {**task, **stage.get("tasks", {}).get(name, {})}, entries


def _drawing(name: str, kind: str, task: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> Callable[[Axes], None]:
    monitor, tuned = task["monitor"], task.get("tuned")
    epochs = [entry["epoch"] for entry in entries]
    by_epoch = len(set(epochs)) == len(epochs)
    places = epochs if by_epoch else [entry["step"] for entry in entries]
    found = [entry["tasks"][name] for entry in entries]
    scores = [_number(one["validation"].get(monitor)) for one in found]
    best = next((i for i in reversed(range(len(found))) if found[i].get("best") and not math.isnan(scores[i])), None)
    lines = {
        "train_loss": [_number(one.get("train_loss")) for one in found],
        "loss": [_number(one["validation"].get("loss")) for one in found],
    }

    def draw_on(axes: Axes) -> None:
        drawn: list[Any] = []
        if monitor != "loss":
            drawn += axes.plot(
                places, scores, color=BAR, marker="o", markersize=3, linewidth=1.5, label=f"validation {monitor}"
            )
            axes.set_ylabel(monitor, fontsize=LABEL, color=BAR)
            beside = axes.twinx()
        else:
            beside = axes
        for key, values in lines.items():
            if not all(map(math.isnan, values)):
                label, style = LOSSES[key]
                marker = "." if len(places) == 1 else None
                drawn += beside.plot(places, values, color="black", linestyle=style, linewidth=1, marker=marker, label=label)
        if best is not None:
            said = f"best: {scores[best]:.3f}" if len(places) > 1 else f"{scores[best]:.3f}"
            star: dict[str, Any] = {"linestyle": "", "color": "#d9822b"}
            drawn += axes.plot(places[best], scores[best], marker="*", markersize=11, label=said, **star)
            own = bool(tuned and tuned.get("thresholds"))
            if tuned and tuned["metric"] == monitor and (own or tuned["threshold"] != tuned["untuned_threshold"]):
                chosen = "thresholds by label" if own else f"threshold {tuned['threshold']:g}"
                said = f"with {chosen}: {tuned['tuned']:.3f}"  # chosen after the last evaluation
                drawn += axes.plot(places[best], tuned["tuned"], marker="D", markersize=5, label=said, **star)
        _widen(axes, monitor, scores)
        beside.set_ylabel("loss", fontsize=LABEL)
        for one in (axes, beside):
            one.tick_params(labelsize=SMALL)
            one.spines["top"].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        axes.set_xlabel("epoch" if by_epoch else "step", fontsize=LABEL)
        if len(places) == 1:
            axes.set_xticks(places)
        axes.grid(axis="y", color=GREY, linewidth=0.3)
        axes.set_zorder(beside.get_zorder() + 1)  # the score over the losses
        axes.patch.set_visible(False)
        axes.legend(
            drawn,
            [str(one.get_label()) for one in drawn],
            fontsize=SMALL,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.2),
            ncols=2,
            frameon=False,
        )
        headed(axes, name, kind)

    return draw_on


def _widen(axes: Axes, monitor: str, scores: Sequence[float]) -> None:
    """Let the axis of a score span enough that one that hardly moves looks so."""
    low, high = axes.get_ylim()
    size = max((abs(score) for score in scores if not math.isnan(score)), default=0.0) if monitor in UNBOUNDED else 1.0
    missing = LEAST_SPAN * size - (high - low)
    if missing > 0:
        axes.set_ylim(low - missing / 2, high + missing / 2)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
