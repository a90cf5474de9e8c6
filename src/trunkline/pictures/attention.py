"""The attention of a fusion over its adapters, by block."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from matplotlib.axes import Axes

from trunkline.pictures.figure import LABEL, Panel, headed, short, titles_width
from trunkline.pictures.heat import headings, heat, number, scale

KIND = "attention over adapters"


def attention(tasks: Mapping[str, Mapping[str, Any]]) -> list[Panel]:
    """A panel for each task with `attention` {block: {adapter: share}}: a row for each block, a column for each adapter."""
    attended = {name: task["attention"] for name, task in tasks.items() if task.get("attention")}
    if not attended:
        return []
    every = [share for shares in attended.values() for row in shares.values() for share in row.values()]
    span = (0.0, scale(every)[1])

    def panel(task: str, shares: Mapping[str, Mapping[str, float]]) -> Callable[[Axes], None]:
        adapters = list(next(iter(shares.values())))

        def draw_on(axes: Axes) -> None:
            rows = [[row[name] for name in adapters] for row in shares.values()]
            names = [short(name) for name in adapters]
            heat(axes, rows, list(shares), names, span, lambda i, j: number(rows[i][j], 2))
            axes.set_ylabel("block", fontsize=LABEL)
            headed(axes, task, KIND)

        return draw_on

    adapters = {short(name): None for shares in attended.values() for row in shares.values() for name in row}
    most = max(len(row) for shares in attended.values() for row in shares.values())
    widths, top, beyond = headings(adapters)
    width = max(most * widths + beyond, titles_width(attended, KIND)) + 0.75
    height = max(len(shares) for shares in attended.values()) * 0.25 + top + 0.6
    return [Panel(panel(task, shares), width, height) for task, shares in attended.items()]
