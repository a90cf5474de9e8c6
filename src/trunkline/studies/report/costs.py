"""The tables of what methods cost."""

from __future__ import annotations

from trunkline.pages.section import Cell, Grid, Table
from trunkline.studies.report.numbers import COSTS
from trunkline.studies.report.quality import method_cell
from trunkline.studies.report.results import Results, Slice

TOGETHER = (
    "Where several runs were trained at once, the times of each are its share of theirs, as its steps cost by a count; "
    "memory is that of all of them."
)


def costs(results: Results) -> list[Grid]:
    """A table for each trunk, size and regime: a row a method, a column a cost; costs that no method has are left out."""
    rows = [
        (*one, cell.method, *(cost.of(cell.cost) for cost in COSTS)) for one in results.slices for cell in results.within(one)
    ]
    whole = Table("cost", ("trunk", "size", "regime", "method", *(cost.key for cost in COSTS)), rows, shown=0)
    return [grid for one in results.slices if (grid := _costs(results, one, whole)) is not None]


def _costs(results: Results, one: Slice, whole: Table) -> Grid | None:
    cells = results.within(one)
    used = [cost for cost in COSTS if any(cost.of(cell.cost) is not None for cell in cells)]
    if not used:
        return None
    rows = [
        [method_cell(results, cell.method), *(Cell(cost.shown(cost.of(cell.cost)), number=True) for cost in used)]
        for cell in cells
    ]
    called = results.called(one)
    said = ["Medians over the runs of a method; parameters are those of its first run."]
    together = [TOGETHER] if any((cell.cost.stacked or 1) > 1 for cell in cells) else []
    return Grid(
        ["method", *(cost.heading for cost in used)], rows, whole, f"Cost: {called}" if called else "Cost", said + together
    )
