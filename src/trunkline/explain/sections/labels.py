"""Scores of each label, or of each entity type."""

from __future__ import annotations

from trunkline.explain.subject import Subject
from trunkline.pages.section import Picture, Section, Table, drawn
from trunkline.pictures.by_label import by_label


def labels(subject: Subject) -> Section:
    """Precision, recall and F1 by label, as a picture and a table."""
    task, found = subject.task, subject.rows.metrics.get("by_label")
    title = "Entity types" if task.answers.units else "Labels"
    if not found:
        return Section(title, note=f"a {task.kind} task has no labels")
    what = "entity type" if task.answers.units else "label"
    keys = ("precision", "recall", "f1", "support", "predicted")
    rows = [(label, *(scores[key] for key in keys)) for label, scores in found.items()]
    (panel,) = by_label({task.name: {subject.split: subject.rows.metrics}}, subject.split)
    worst = min(found, key=lambda label: found[label]["f1"])
    alt = f"Bars: scores of {len(found)} labels; {worst} has the lowest F1, {found[worst]['f1']:.2f}."
    table = Table("by_label", (what, *keys), rows, shown=len(rows))
    counted = "spans" if task.answers.units else "texts"
    note = f"Support: {counted} that have the label; predicted: those that got it."
    return Section(title, (Picture(drawn(panel), table, alt),), note=note)
