"""Training rows whose labels are likely wrong, by branches that have not seen them."""

from __future__ import annotations

from trunkline.errors import BadInput
from trunkline.events import Preparing
from trunkline.explain.subject import Subject
from trunkline.pages.section import Section, Table
from trunkline.training.label_errors import COLUMNS, FOLDS, find_label_errors, written_cell

TITLE = "Likely label errors"


def label_errors(subject: Subject) -> Section:
    """The rows of the training data of the run, the most doubtful labels first, and which labels stand for which others."""
    task = subject.task
    if task.quality is None:
        return Section(TITLE, note=f"a {task.kind} task has no labels to doubt")
    if not subject.label_errors:
        return Section(
            TITLE, note=f"--label-errors (label_errors=True in Python) trains {FOLDS} branches that doubt the labels"
        )
    if subject.run is None:
        return Section(TITLE, note="this branch does not lie in its run, whose training rows would be doubted")

    def say(sentence: str) -> None:
        subject.publish(Preparing(f"{task.name}: likely label errors, {sentence}"))

    try:
        found = find_label_errors(subject.run, tasks=[task.name], publish=subject.publish, say=say)
    except BadInput as error:
        subject.say(f"{task.name}: no label errors were looked for: {error}")
        return Section(TITLE, note=f"they could not be looked for: {error}")
    names = [name for name in COLUMNS if name != "task" and any(row[name] is not None for row in found.rows)]
    rows = [[written_cell(row[name]) for name in names] for row in found.rows]
    tables = [Table("label_errors", names, rows, "Training rows, the most doubtful labels first.")]
    if changes := found.changes(task.name):
        tables.append(
            Table("suspected_labels", ("given", "suggested", "rows"), changes, "What the suspected labels may stand for.")
        )
    note = (
        f"Each row is doubted by a branch that was trained on other rows ({FOLDS} folds, the same settings as this branch): "
        "given_confidence is the probability that it gives the row's own label. Suspected are rows that the confident joint "
        "(Northcutt et al. 2021) counts under another label and whose own is not the most probable one. "
        f"{' '.join(found.findings)}"
    )
    return Section(TITLE, (), tables, note)
