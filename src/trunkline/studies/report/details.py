"""What single labels and entity types score, and which labels are taken for which."""

from __future__ import annotations

from trunkline.pages.section import Cell, Grid, Picture, Section, Table, drawn
from trunkline.pictures.by_label import by_label
from trunkline.pictures.confusion import confusion
from trunkline.studies.report import numbers
from trunkline.studies.report.figures import named
from trunkline.studies.report.results import CellFacts, Results

CONFUSED = 10  # pairs of labels that a task's table lists on the page
KEYS = ("precision", "recall", "f1", "support", "predicted")


def labels(results: Results) -> Section:
    """F1 of every label by every method, and precision, recall and F1 of one method as a picture."""
    title = "Labels and entity types"
    shown = {task: cell for task in results.tasks if (cell := results.shown(task)) is not None and cell.tasks[task].by_label}
    if not shown:
        return Section(title, note="no task has scores by label")
    pictures, grids = [], []
    for number, (task, cell) in enumerate(shown.items(), 1):
        pictures.append(_picture(results, task, cell, named("labels", number, len(shown))))
        grids.append(_grid(results, task, cell, _f1(results, task, cell, named("f1_by_label", number, len(shown)))))
    told = "; ".join(f"{task}: {cell.method}" for task, cell in shown.items())
    called = results.called(results.main)
    note = f"Of the first run of each method{f' ({called})' if called else ''}. "
    note += f"The pictures are of the method that is best on validation ({told})."
    return Section(title, pictures, note=note, grids=grids)


def confusions(results: Results) -> Section:
    """The confusion matrix of one method for each task that has one, and its pairs of labels that are confused most often."""
    title = "Confusions"
    shown = {task: cell for task in results.tasks if (cell := results.shown(task)) is not None and cell.tasks[task].confusion}
    if not shown:
        return Section(title, note="no task has exactly one label for each text")
    pictures, tables = [], []
    for number, (task, cell) in enumerate(shown.items(), 1):
        found = cell.tasks[task]
        metrics = {"confusion": found.confusion, "by_label": found.by_label}
        (panel,) = confusion({task: {f"test, {cell.method}": metrics}}, f"test, {cell.method}")
        rows = [(true, predicted, count) for true, row in found.confusion.items() for predicted, count in row.items() if count]
        right = sum(count for true, predicted, count in rows if true == predicted)
        total = sum(count for _, _, count in rows)
        alt = f"{task}: a matrix of the answers of {cell.method}: {right:,} of {total:,} texts lie on its diagonal."
        caption = f"{task}, {cell.method}: a row is a true label; its colours are shares of that row."
        columns = ("true", "predicted", "texts")
        pictures.append(Picture(drawn(panel), Table(named("confusion", number, len(shown)), columns, rows, caption, 0), alt))
        wrong = sorted((row for row in rows if row[0] != row[1]), key=lambda row: -row[2])
        if wrong:
            caption = f"{task}: labels that {cell.method} takes for others, the most frequent first."
            tables.append(Table(named("confused", number, len(shown)), columns, wrong, caption, CONFUSED))
    return Section(title, pictures, tables, "Of the first run of the method that is best on validation.")


def _picture(results: Results, task: str, cell: CellFacts, name: str) -> Picture:
    found, split = cell.tasks[task].by_label, f"test, {cell.method}"
    scores = {label: {key: row.get(key) or 0 for key in KEYS} for label, row in found.items()}
    (panel,) = by_label({task: {split: {"by_label": scores}}}, split)
    worst = min(scores, key=lambda label: scores[label]["f1"])
    rows = [(label, *(row.get(key) for key in KEYS)) for label, row in found.items()]
    alt = f"{task}: bars of {len(found)} labels; {worst} has the lowest F1, {scores[worst]['f1']:.2f}."
    caption = f"{task}, {cell.method}. Behind a label its support: how often it is right on test."
    return Picture(drawn(panel), Table(name, ("label", *KEYS), rows, caption, shown=0), alt)


def _f1(results: Results, task: str, cell: CellFacts, name: str) -> Table:
    rows = [
        (label, other.method, *(row.get(key) for key in KEYS))
        for other in results.within(cell.slice)
        if task in other.tasks
        for label, row in other.tasks[task].by_label.items()
    ]
    return Table(name, ("label", "method", *KEYS), rows, shown=0)


def _grid(results: Results, task: str, cell: CellFacts, numbers_of_it: Table) -> Grid:
    methods = {
        other.method: other.tasks[task].by_label
        for other in results.within(cell.slice)
        if task in other.tasks and other.tasks[task].by_label
    }
    rows = []
    for label, own in cell.tasks[task].by_label.items():
        scores = {method: found.get(label, {}).get("f1") for method, found in methods.items()}
        best = max((score for score in scores.values() if score is not None), default=None)
        row = [
            Cell("\u2013" if score is None else f"{score:.2f}", number=True, strong=score is not None and score == best)
            for score in scores.values()
        ]
        rows.append([Cell(label), Cell(numbers.count(own.get("support")), number=True), *row])
    caption = f"{task}: F1 of each {'entity type' if results.tasks[task].kind == 'token' else 'label'}"
    return Grid(["label", "support", *methods], rows, numbers_of_it, caption, ["Bold: the highest F1 of its row."])
