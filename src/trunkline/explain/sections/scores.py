"""The scores of a branch on the rows that the page is about."""

from __future__ import annotations

from trunkline.explain.subject import Subject
from trunkline.pages.section import Section, Table


def scores(subject: Subject) -> Section:
    """Every metric, the monitored one first, beside that of validation where the branch has noted it."""
    task, found = subject.task, subject.rows.metrics
    validation = subject.branch.metrics.get("validation", {})
    names = [name for name, value in found.items() if not isinstance(value, dict)]
    names.sort(key=lambda name: (name != task.monitor, name.startswith(("precision_", "recall_"))))
    rows = [(name, found[name], validation.get(name)) for name in names]
    table = Table("scores", ("metric", subject.split, "validation, in training"), rows)
    count = task.answers.scored(subject.rows.targets, subject.rows.corpus)
    note = f"On {count:,} labelled rows of {subject.rows.source}. Training goes by {task.monitor}."
    return Section("Scores", tables=(table,), note=note)
