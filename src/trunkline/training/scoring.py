"""Branches scored: on data that is given, or each on the test split of its own run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from trunkline.data.empty import EmptyTexts
from trunkline.data.sources import read_table
from trunkline.data.table import Table
from trunkline.model.bundle import Bundle
from trunkline.model.columns import label_names, likely_texts
from trunkline.model.folders import branch_folders, by_run, task_of
from trunkline.model.table_scores import score_table
from trunkline.tasks.labels import Reading
from trunkline.training.own_test import own_test_splits
from trunkline.training.result import read_result
from trunkline.trunk.load import Trunk

Counting = Callable[[int], AbstractContextManager[Callable[[int], None]]]


def score_branches(
    paths: Sequence[Path],
    data: str | None = None,
    *,
    format: str | None = None,
    trunk: Trunk | str | None = None,
    backend: str | None = None,
    dtype: str | None = None,
    allow_precision_change: bool = False,
    columns: Mapping[str, str] | None = None,
    labels: Iterable[str] = (),
    unseen_labels: str = "count",
    empty_texts: EmptyTexts = "skip",
    min_confidence: float | None = None,
    say: Callable[[str], None] = lambda sentence: None,
    count: Counting = lambda texts: nullcontext(lambda more: None),
    loading: Callable[[], AbstractContextManager[Any]] = nullcontext,
    named: Callable[[Path], str] = str,
) -> dict[str, Any]:
    """Return the metrics of branches by name, as `score_table` does.

    Args:
        paths: branches, and runs, which stand for all of their branches.
        data: what to score on; None: the test split of each branch's own run.
        format: of `data`, where its suffix does not say it.
        trunk: where the trunk of the branches is, or the trunk itself.
        backend, dtype, allow_precision_change: what computes it and in which precision, as of `Bundle.open`.
        columns: the columns of `data` to read, by role, where they are not those that the branches were trained on.
        labels: `GIVEN=TRAINED`, labels of `data` that mean another label of a branch.
        unseen_labels: "count" or "refuse" labels that a branch does not have.
        empty_texts: "skip" or "refuse" rows without a text.
        min_confidence: as of `score_table`.
        say: told, in a sentence, what cannot be scored as it stands.
        count: opened for each pass with the number of its texts; what it gives is called with the sequences done.
        loading: opened while branches are loaded.
        named: how a run is called in names and messages.

    Raises:
        BadInput: data that some branch cannot read, or a run whose own test split is not known.
    """

    def opened(members: Sequence[Path], trunk: Trunk | str | None, texts: Sequence[str] | bool) -> Bundle:
        with loading(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # `say` is told instead
            bundle = Bundle.open(
                members,
                trunk=trunk,
                backend=backend,
                dtype=dtype,
                allow_precision_change=allow_precision_change and texts,
            )
        for sentence in bundle.findings:
            say(sentence)
        return bundle

    def scored(bundle: Bundle, table: Table, baselines: Mapping[str, Any] | None = None) -> dict[str, Any]:
        reading = Reading(unseen_labels == "count", label_names(labels, bundle.branches))
        return score_table(
            bundle,
            table,
            say,
            count,
            columns=columns,
            reading=reading,
            empty_texts=empty_texts,
            baselines=baselines,
            given=data is not None,
            min_confidence=min_confidence,
        )

    if data is not None:
        table = read_table(data, format=format)  # what is wrong with it is found before the trunk is loaded
        return scored(opened(paths, trunk, likely_texts(table, columns or {}) or True), table)
    results: dict[str, Any] = {}
    runs = by_run(paths)
    for run, members in runs.items():
        own_tasks = [task_of(folder) for member in members for folder in branch_folders(member)]
        splits = own_test_splits(Path(named(run)), own_tasks, say)
        bundle = opened(members, trunk, True)
        trunk = trunk or bundle.trunk
        prefix = f"{named(run)}/" if len(runs) > 1 else ""
        found: dict[str, Any] = {}
        noted = {name: task.get("baseline", {}).get("test") for name, task in read_result(run)["tasks"].items()}
        for tasks, test, unchanged in splits:
            own = bundle.only([name for name, branch in bundle.branches.items() if branch.task.name in tasks])
            if test is not None:
                test = _as_named(test, named)
                if unchanged:  # what its reader changes was said when it was trained
                    test = replace(test, findings=())
                found |= scored(own, test, noted if unchanged else None)
            else:
                for name in tasks:
                    say(f"{prefix}{name} is not scored: the config defines no test split for it")
        results |= {f"{prefix}{name}": found[name] for name in bundle.branches if name in found}
    return results


def _as_named(table: Table, named: Callable[[Path], str]) -> Table:
    """A table whose files are called as `named` does."""
    if not Path(table.source).is_absolute():
        return table
    files = None if table.files is None else [named(Path(file)) for file in table.files]
    return replace(table, source=" + ".join(named(Path(part)) for part in table.source.split(" + ")), files=files)
