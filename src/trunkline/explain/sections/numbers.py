"""Predicted beside true numbers, of a regression."""

from __future__ import annotations

from trunkline.explain.subject import Subject
from trunkline.pages.section import Picture, Section, Table, drawn
from trunkline.pictures.scatter import scatter

TITLE = "Predicted and true numbers"


def numbers(subject: Subject) -> Section:
    """A mark for each of some rows, evenly spaced in the data."""
    task, metrics = subject.task, subject.rows.metrics
    if not (sample := metrics.get("sample")):
        return Section(TITLE, note=f"a {task.kind} task predicts labels")
    rows = [(int(row) + 1, pair["true"], pair["predicted"]) for row, pair in sample.items()]
    (panel,) = scatter({task.name: {subject.split: metrics}}, subject.split)
    alt = f"Marks: {len(rows)} rows by their true and predicted numbers; on the line both are the same."
    table = Table("numbers", ("place", "true", "predicted"), rows, shown=0)
    note = f"{len(rows)} of the labelled rows, evenly spaced; on the line both numbers are the same."
    return Section(TITLE, (Picture(drawn(panel), table, alt),), note=note)
