"""Errors with their texts: what runs have answered on the test split (answers/), and the texts, read again from their data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from trunkline.errors import BadInput
from trunkline.explain.answers import certain, right_and_given
from trunkline.pages.section import Table
from trunkline.studies.report.results import CellFacts, Results
from trunkline.studies.wording import of_study
from trunkline.training.answered import KeptAnswers, load_answers
from trunkline.training.config import load_config
from trunkline.training.prepare import Prepared, Split, prepare, split_digest
from trunkline.training.result import read_result

SHOWN = 10  # errors of a table
SEED = 0  # of those that are drawn


@dataclass(frozen=True)
class Errors:
    """Errors of one method on one task, and why none can be shown.

    Attributes:
        tables: with texts; their names end in `number` of the task.
        note: a sentence about them, or what is in the way.
    """

    tables: list[Table]
    note: str


class Texts:
    """The test splits of runs, read from the data that their configs name; each only once.

    Args:
        folder: of the study.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._prepared = cache(lambda config: prepare(load_config(folder / config)))

    def errors(self, results: Results, task: str, cell: CellFacts, number: int) -> Errors:
        """The errors of a cell's first run, those first that most of the other methods make, too."""
        run = next((seed.run for seed in cell.tasks[task].by_seed if seed.run), None)
        if run is None:
            return Errors([], f"{cell.method} has no run whose answers are kept")
        try:
            answers = load_answers(self.folder / run, task)
            group, split = self._split(run, task)
        except (BadInput, OSError, UnicodeDecodeError) as error:
            return Errors([], f"the texts cannot be shown: {_said(error)}")
        targets = split.targets[task]
        if not (np.array_equal(targets.values, answers.true) and np.array_equal(targets.present, answers.present)):
            return Errors([], "the texts cannot be shown: the data have changed since the run was trained")
        others = self._others(results, task, cell, answers)
        return _tables(group, split, task, answers, others, cell.method, number)

    def _split(self, run: str, task: str) -> tuple[Prepared, Split]:
        """The test split of a task as a run has read it.

        Raises:
            BadInput: the data cannot be read, or are others now.
        """
        noted = read_result(self.folder / run).get("digests", {})
        groups = self._prepared(f"{run}/config.yaml")
        group = next(one for one in groups if task in one.tasks)
        name = "test" if len(groups) == 1 else f"{group.name}/test"
        if "test" not in group.splits or split_digest(group.splits["test"]) != noted.get(name):
            raise BadInput(f"{self.folder / run}: the test data have changed since it was trained")
        return group, group.splits["test"]

    def _others(self, results: Results, task: str, cell: CellFacts, answers: KeptAnswers) -> dict[str, KeptAnswers]:
        """By method, the answers of the first run of every other method within the slice to the same rows."""
        found = {}
        for other in results.within(cell.slice):
            run = next((seed.run for seed in other.tasks[task].by_seed if seed.run), None) if task in other.tasks else None
            if run is None or other is cell:
                continue
            try:
                read = load_answers(self.folder / run, task)
            except BadInput:
                continue
            if read.same_rows(answers):
                found[other.method] = read
        return found


def _tables(
    group: Prepared, split: Split, task: str, answers: KeptAnswers, others: Mapping[str, KeptAnswers], method: str, number: int
) -> Errors:
    own, corpus, targets = group.tasks[task], split.corpus, split.targets[task]
    texts, words = right_and_given(own, corpus, targets, certain(own, answers.predicted, answers.offsets))
    pairs = corpus.pairs

    def row(place: int, *more: str) -> tuple[str, ...]:
        text, (right, given) = int(texts[place]), words[place]
        where = corpus.table.where(text).removeprefix(f"{corpus.table.source} ")
        return (where, corpus.texts[text], *(() if pairs is None else (pairs[text],)), right, given, *more)

    columns = ("row", "text", *(() if pairs is None else ("second text",)), "right", f"answer of {method}")
    if answers.true.dtype.kind == "f":
        error = np.abs(answers.predicted - answers.true)[texts]
        largest = np.argsort(-error, kind="stable")[:SHOWN]
        rows = [row(int(place)) for place in largest]
        return Errors([Table(f"largest_errors_{number}", columns, rows, f"{task}: the largest errors of {method}.")], "")
    wrong = np.array([place for place, (right, given) in enumerate(words) if right != given], int)
    if not len(wrong):
        return Errors([], f"{method} answers every text of the test split right")
    note = f"{method}, in its first run, answers {len(wrong):,} of {len(texts):,} texts wrong"
    note += " in some part." if answers.offsets is not None or answers.kind == "multilabel" else "."
    tables = []
    if others:
        missed = sum(_wrong(one)[texts].astype(int) for one in others.values())
        hardest = wrong[np.argsort(-missed[wrong], kind="stable")[:SHOWN]]
        rows = [row(int(place), f"{missed[place]} of {len(others)}") for place in hardest]
        caption = f"{task}: errors, those first that most other methods make, too."
        tables.append(Table(f"hardest_{number}", (*columns, "others wrong"), rows, caption))
    drawn = np.sort(np.random.default_rng(SEED).permutation(wrong)[:SHOWN])
    caption = f"{task}: errors of {method}, drawn at random (seed {SEED})."
    tables.append(Table(f"errors_{number}", columns, [row(int(place)) for place in drawn], caption))
    return Errors(tables, note)


def _wrong(answers: KeptAnswers) -> np.ndarray:
    """(texts,) bool: whether a text is not right as a whole."""
    wrong = answers.true != answers.predicted
    wrong = wrong.any(axis=1) if wrong.ndim == 2 else wrong
    wrong &= answers.present
    if answers.offsets is None:
        return wrong
    before = np.concatenate([[0], np.cumsum(wrong)])
    return np.asarray(np.diff(before[answers.offsets]) > 0)


def _said(error: Exception) -> str:
    return str(of_study(error)) if isinstance(error, BadInput) else type(error).__name__
