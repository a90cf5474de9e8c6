"""Likely label errors: the rows of a training source whose labels are doubted by branches that have not seen them.

    from trunkline import find_label_errors
    found = find_label_errors("emotion.yaml")
    found.write("doubtful.csv")

The probabilities are those of out_of_fold.py, and the ranking is that of tasks/label_quality.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from trunkline.branches.auto import AutoConfig, no_branch
from trunkline.data.corpus import Corpus
from trunkline.data.values.written import cell
from trunkline.data.writing import writers
from trunkline.errors import BadInput, unknown_name
from trunkline.events import Subscriber, quiet
from trunkline.files import path_of
from trunkline.model.approach import approach_of
from trunkline.outputs import output_file
from trunkline.tasks import kinds
from trunkline.tasks.label_quality import Judged
from trunkline.terminal import refuse_launch
from trunkline.training.config import RunConfig
from trunkline.training.given import Given, config_of
from trunkline.training.out_of_fold import OutOfFold, predict_out_of_fold
from trunkline.training.rundir import CONFIG, is_run

FOLDS = 5
COLUMNS = (
    "task", "rank", "source", "line", "row", "text", "text_pair", "word", "start", "end",
    "given", "suggested", "given_confidence", "suggested_confidence", "suspected",
)  # fmt: skip


@dataclass(frozen=True)
class LabelErrors:
    """The labelled rows of one or several tasks, of each the most doubtful first.

    Attributes:
        rows: a mapping for each, with a value for every one of COLUMNS: `rank` counts from 1 within a task; `line` is that of
            the file `source`, from 1, and `row`, likewise, is there instead where it has no lines; `word`, `start`, `end` are
            of the word that a tag is given to; `given` and `suggested` are label names, lists where a text has any number;
            `suspected` is true where the confident joint says that the label is wrong, and another one is more probable.
        findings: a sentence for each task.
    """

    rows: list[dict[str, Any]]
    findings: list[str]

    def suspected(self, task: str | None = None) -> list[dict[str, Any]]:
        """The rows that are suspected to have a wrong label, of a task or of all."""
        return [row for row in self.rows if row["suspected"] and task in (None, row["task"])]

    def changes(self, task: str) -> list[tuple[Any, Any, int]]:
        """Of the suspected rows of a task, the given and the suggested label and how many have these, most frequent first."""
        pairs = Counter((cell(row["given"]), cell(row["suggested"])) for row in self.suspected(task))
        return [(given, suggested, count) for (given, suggested), count in pairs.most_common()]

    def write(self, path: str | PathLike[str]) -> None:
        """Write all rows as CSV, whole or not at all; columns that no row has a value in are left out.

        Raises:
            BadInput: no path of a CSV file.
        """
        target = checked_path(path, "path")
        names = [name for name in COLUMNS if any(row[name] is not None for row in self.rows)]
        with output_file(target) as file:
            writer = writers.get("csv").open(file)
            writer.write([{name: written_cell(row[name]) for name in names} for row in self.rows], {})
            writer.close()


def find_label_errors(
    config: Any,
    *,
    overrides: Any = (),
    folds: int = FOLDS,
    seeds: int = 1,
    text: str | None = None,
    label: str | Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    publish: Subscriber = quiet,
    say: Callable[[str], None] = lambda sentence: None,
) -> LabelErrors:
    """Rank the labelled rows of a config's training source by how much branches doubt them that were trained on other rows.

    Args:
        config: of side branches: what `fit` takes, or the directory of a run.
        overrides: changes to it, as of `fit`.
        folds: a branch is trained for each, on the rows of the others; equal texts are in one fold.
        seeds: how often that is done, from `training.seed` on; probabilities are the mean.
        text, label: with data alone, as of `fit`.
        tasks: those whose labels are doubted; by default all that have labels.
        publish: told of what happens.
        say: told, in a sentence, what is trained next.

    Raises:
        BadInput: the config or the data cannot be used, its method changes the trunk, its tasks have no labels, or there
            are several processes in this launch.
    """
    refuse_launch("label-errors", "one process")
    for name, value, least in (("folds", folds, 2), ("seeds", seeds, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise BadInput(f"{name}: found {value!r}, expected a whole number of at least {least}")
    resolved = config_given(config, overrides, text=text, label=label).config
    with resolved.naming():
        if approach_of(resolved.method).changes_trunk:
            expected = "a side branch, as one is trained for every fold: what reads a frozen trunk does that from stored states"
            raise BadInput(found=resolved.method.name, expected=expected, key="method.name")
        if isinstance(resolved.method, AutoConfig):
            raise no_branch()
    for name in tasks or ():
        if name not in resolved.tasks:
            raise unknown_name("tasks", name, resolved.tasks, whole=True)
    if tasks is not None:
        resolved = resolved.model_copy(update={"tasks": {name: resolved.tasks[name] for name in tasks}})
    asked, left_out = _with_labels(resolved)
    rows: list[dict[str, Any]] = []
    findings = [f"{name}: left out, as a task of kind {kind} has no labels to doubt." for name, kind in left_out.items()]
    for found in predict_out_of_fold(asked, folds=folds, seeds=seeds, publish=publish, say=say):
        ranked, said = _ranked(found, folds)
        rows += ranked
        findings += said
    return LabelErrors(rows, findings)


def config_given(config: Any, overrides: Any = (), **keywords: Any) -> Given:
    """The config that `fit` would train, or that a run in the directory `config` was trained with."""
    if isinstance(config, str | PathLike) and Path(config).is_dir() and is_run(Path(config)):
        file = Path(config) / CONFIG
        if not file.is_file():
            raise BadInput(f"{config}: this run has no {CONFIG}, expected one")
        config = file
    return config_of(config, overrides, **keywords)


def checked_path(path: Any, what: str) -> Path:
    """A CSV file to write, in a folder that exists. BadInput, opened by `what`, for anything else."""
    found = path_of(path, what, "the path of a CSV file")
    if found.suffix.lower() != ".csv":
        raise BadInput(f"{what} {found}: expected a file to write that ends in .csv")
    if found.is_dir() or not found.parent.is_dir():
        raise BadInput(f"{what} {found}: expected a file to write in a folder that exists")
    return found


def _with_labels(config: RunConfig) -> tuple[RunConfig, dict[str, str]]:
    """The config with those of its tasks whose labels can be doubted, and the kinds of the others."""
    others = {name: task.kind for name, task in config.tasks.items() if kinds.get(task.kind).quality is None}
    kept = {name: task for name, task in config.tasks.items() if name not in others}
    if not kept:
        name, kind = next(iter(others.items()))
        known = [kind for kind in kinds.names() if kinds.get(kind).quality is not None]
        with config.naming():
            raise BadInput(found=kind, expected=f"a task with labels ({', '.join(known)})", key=f"tasks.{name}.kind")
    return config.model_copy(update={"tasks": kept}) if others else config, others


def _ranked(found: OutOfFold, folds: int) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of a task by rank, and what there is to say of them."""
    task, corpus = found.task, found.corpus
    assert task.quality is not None
    judged = task.quality.judged(task.labels, found.probabilities, found.targets)
    rows = [_row(task.name, rank, corpus, judged, int(i)) for rank, i in enumerate(judged.order(), 1)]
    suspected, total = int(judged.suspected.sum()), len(judged.texts)
    are = "is" if suspected == 1 else "are"
    said = [f"{task.name}: {suspected:,} of {total:,} rows {are} suspected to have a wrong {task.quality.what}."]
    rare = sum(0 < count < folds for count in task.counts(found.targets).values())
    if rare:
        few = "1 label has" if rare == 1 else f"{rare:,} labels have"
        said.append(f"{task.name}: {few} fewer rows than there are folds, so that what is said of these rows means little.")
    return rows, said


def _row(task: str, rank: int, corpus: Corpus, judged: Judged, number: int) -> dict[str, Any]:
    text, table = int(judged.texts[number]), corpus.table
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    row |= {
        "task": task,
        "rank": rank,
        "source": table.source if table.files is None else table.files[text],
        "text": corpus.texts[text],
        "text_pair": None if corpus.pairs is None else corpus.pairs[text],
        "given": judged.given[number],
        "suggested": judged.suggested[number],
        "given_confidence": float(judged.given_confidence[number]),
        "suggested_confidence": float(judged.suggested_confidence[number]),
        "suspected": bool(judged.suspected[number]),
    }
    if table.lines is not None:
        row["line"] = int(table.lines[text])
    else:
        row["row"] = text + 1 if table.rows is None else int(table.rows[text])
    if judged.units is not None and corpus.units is not None:
        start, end = corpus.units[text][int(judged.units[number])]
        row |= {"word": corpus.texts[text][start:end], "start": start, "end": end}
    return row


def written_cell(value: Any) -> Any:
    """A value of a row as a cell of CSV: probabilities with six significant digits, truth values as in JSON."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return float(f"{value:.6g}") if isinstance(value, float) else cell(value)
