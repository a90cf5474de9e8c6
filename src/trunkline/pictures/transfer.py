"""Accuracy matrices: the score of every task after every stage of a sequence, for each order of the tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from trunkline.pictures.figure import LABEL, Panel, short, text_width, titles_width
from trunkline.pictures.heat import headings, heat, number, scale
from trunkline.tasks.base import LOWER_IS_BETTER

KIND = "scores after every stage"
MEANS = ("forgetting", "backward_transfer", "forward_transfer")


def transfer(reports: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """A panel for each order: a row for each stage and one for the tasks trained alone, a column for each task.

    Args:
        reports: `transfer` of a run's result.json.
    """
    if not reports:
        return []
    scores: dict[str, list[float]] = {}
    for report in reports:
        for j, task in enumerate(report["order"]):
            found = [row[j] for row in (*report["matrix"], report["alone"])]
            scores.setdefault(task, []).extend(value for value in found if value is not None)
    # Darker is better. Errors would be the other way round, and in the units of their column they would leave no colours for
    # what lies between 0 and 1.
    metrics = {task: metric for report in reports for task, metric in report["metric"].items()}
    coloured = {
        task
        for task, values in scores.items()
        if metrics[task] not in LOWER_IS_BETTER and all(-1 <= value <= 1 for value in values)
    }
    span = scale([value for task in coloured for value in scores[task]])
    columns = {task: f"{short(task)}\n({metric})" for task, metric in metrics.items()}

    def panel(place: int, report: Mapping[str, Any]) -> Callable[[Axes], None]:
        order = report["order"]

        def draw_on(axes: Axes) -> None:
            levels = [task in coloured for task in order]
            rows = [*report["matrix"], report["alone"]]
            names = [*(f"after {short(task)}" for task in order), "alone"]
            shown = [columns[task] for task in order]
            texts = heat(axes, rows, names, shown, span, lambda i, j: number(rows[i][j], 3), levels)
            for i in range(len(order)):
                texts[i][i].set_fontweight("bold")  # the task that this stage has trained
                for later in texts[i][i + 1 :]:
                    later.set_text("")  # not trained yet, which is something else than undefined
            axes.axhline(len(order), color="white", linewidth=5)
            means = [f"{key.replace('_', ' ')} {_signed(report[key])}" for key in MEANS]
            axes.set_xlabel("\n".join(means), fontsize=LABEL)
            title = f"order {place}: {KIND}" if len(reports) > 1 else KIND
            axes.set_title(title, fontsize=LABEL + 1, fontweight="bold", pad=8)

        return draw_on

    widths, top, beyond = headings(columns.values())
    side = max(text_width(f"after {short(task)}", LABEL) for task in columns)
    width = side + max(len(columns) * widths + beyond, titles_width([f"order {len(reports)}"], KIND)) + 0.4
    height = (len(columns) + 1) * 0.32 + top + (len(MEANS) + 1) * 0.17 + 0.35
    return [Panel(panel(place, report), width, height) for place, report in enumerate(reports, 1)]


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"
