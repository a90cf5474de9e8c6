"""Which labels are taken for which."""

from __future__ import annotations

from trunkline.explain.subject import Subject
from trunkline.pages.section import Picture, Section, Table, drawn
from trunkline.pictures.confusion import confusion as panels

TITLE = "Confusion matrix"
PAIRS = 10  # that the page lists


def confusion(subject: Subject) -> Section:
    """How many texts of each label got which, and the pairs that are mistaken most often."""
    task, metrics = subject.task, subject.rows.metrics
    counts = metrics.get("confusion")
    if not counts:
        return Section(TITLE, note=f"a {task.kind} task does not have exactly one label for each text")
    order = list(dict.fromkeys([*metrics["by_label"], *counts, *(label for row in counts.values() for label in row)]))
    totals = {true: sum(row.values()) for true, row in counts.items()}
    rows = [
        (true, predicted, counts[true][predicted], counts[true][predicted] / totals[true])
        for true in order
        if true in counts
        for predicted in order
        if predicted in counts[true]
    ]
    columns = ("true", "predicted", "texts", "share_of_true")
    (panel,) = panels({task.name: {subject.split: metrics}}, subject.split)
    wrong = sorted((row for row in rows if row[0] != row[1]), key=lambda row: -row[2])
    right = sum(row[2] for row in rows if row[0] == row[1])
    alt = f"A matrix of {len(order)} labels: {right:,} of {sum(totals.values()):,} texts lie on its diagonal."
    tables = [Table("confused", columns, wrong, "Labels taken for others, the most frequent first.", PAIRS)] if wrong else []
    picture = Picture(drawn(panel), Table("confusion", columns, rows, shown=0), alt)
    return Section(TITLE, (picture,), tables, "A row is a true label; its colours are shares of that row.")
