"""Rows of output: what the input held and what was predicted, every column under a name of its own, written to a file."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from trunkline.data.values.written import PREDICTED
from trunkline.data.writing import Bytes, Chosen
from trunkline.errors import BadInput, listed, shown
from trunkline.model.branch import Branch

NAMED = 10  # renamed columns that a message names
ERROR = "error"  # the column of what keeps rows from being read


class Row(NamedTuple):
    """What a row of the input held itself, and the prediction of every branch.

    words (list[str] | None): the words of its text, where they are asked for, and `tags` the predicted ones of the only branch.
    error (str | None): why the row could not be read; its predictions are empty then.
    """

    own: dict[str, Any]
    answers: dict[str, dict[str, Any]]
    words: list[str] | None = None
    tags: list[str] | None = None
    error: str | None = None


def answer_columns(answers: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[str, str]]:
    """Return the columns of a table that hold predictions, each with its branch and the part of the prediction.

    The main part has the branch's name, others stand beside it as ``NAME.score``, or ``NAME.score_2`` where that is a branch.
    """
    found: dict[str, tuple[str, str]] = {}
    for name, answer in answers.items():
        main, *others = answer
        found[name] = (name, main)
        for key in others:
            wanted, number = f"{name}.{key}", 1
            while (column := wanted if number == 1 else f"{wanted}_{number}") in answers or column in found:
                number += 1
            found[column] = (name, key)
    return found


def merged(row: Row, error: str = ERROR) -> dict[str, Any]:
    """A row as JSON has it: each prediction is an object under its branch's name, and what is wrong stands under `error`."""
    return {**row.own, **row.answers, **({error: row.error} if row.error is not None else {})}


def cells(row: Row, separators: Mapping[str, str] | None = None, error: str | None = None) -> dict[str, Any]:
    """A row for a table: each prediction becomes its main part under its branch's name, and its score beside it.

    Args:
        row: what the input held, and the predictions.
        separators: by branch, what its labels are joined with to one string.
        error: the column of errors, if there is one.
    """
    found = dict(row.own)
    for column, (name, key) in answer_columns(row.answers).items():
        value, mark = row.answers[name][key], (separators or {}).get(name)
        found[column] = mark.join(value) if mark is not None and key == "labels" and value is not None else value
    if error is not None:
        found[error] = row.error
    return found


def separators_of(branches: Mapping[str, Branch]) -> dict[str, str]:
    """By branch, what stands between its labels in a cell, where it was trained on cells of several labels."""
    return {name: mark for name, branch in branches.items() if (mark := branch.task.cell_separator) is not None}


def answer_types(rows: Sequence[Row]) -> dict[str, Any]:
    """The Arrow types of the columns that `cells` makes of predictions."""
    places = answer_columns(rows[0].answers if rows else {}).items()
    return {column: PREDICTED[key] for column, (_, key) in places if key in PREDICTED}


def check_tagged(chosen: Chosen, branches: Mapping[str, Branch]) -> None:
    """Raise BadInput where a format of words and tags is chosen, and anything but one token task predicts."""
    kinds = {name: branch.task.kind for name, branch in branches.items()}
    if chosen.form.tagged and list(kinds.values()) != ["token"]:
        found = listed([f"{name} ({kind})" for name, kind in kinds.items()], quoted=False, whole=True)
        raise BadInput(
            f"found the branches {found} and the format {chosen.form.name}, which holds the tags of one token task; "
            "expected one such branch, or --format jsonl"
        )


@contextmanager
def writing(
    file: Bytes,
    chosen: Chosen,
    names: OutputNames,
    types: Mapping[str, Any] | None = None,
    separators: Mapping[str, str] | None = None,
    errors: bool = False,
) -> Iterator[Callable[[Sequence[Row]], None]]:
    """Yield a function that writes rows, some at a time, into `file`, which is whole when the block has ended.

    Args:
        file: where to write.
        chosen: the format.
        names: of the columns in the output.
        types: the Arrow types of columns of the input.
        separators: by branch, what its labels are joined with in a format that has no lists (see `separators_of`).
        errors: whether a table has a column for the errors of rows. Objects have a key for it where there is one.
    """
    flat, joining = chosen.form.flat, None if chosen.form.lists else separators
    with chosen.writer(file) as writer:

        def write(rows: Sequence[Row]) -> None:
            if chosen.form.tagged:
                writer.write([{"tokens": row.words or [], "tags": row.tags or []} for row in rows], {})
                return
            renamed = names.renamed(list(rows))
            if not flat:
                writer.write([merged(row, names.error if row.error is not None else ERROR) for row in renamed], {})
                return
            kept, error = {**names.keys(types or {}), **answer_types(renamed)}, names.error if errors else None
            if error is not None:
                kept[error] = PREDICTED["label"]
            writer.write([cells(row, joining, error) for row in renamed], kept)

        yield write


class OutputNames:
    """The names of the input's columns in the output; predictions have theirs first.

    A column of the input that has the name of a prediction becomes ``given_NAME``, or ``given_NAME_2`` and so on where that is
    taken. A column that first comes in later rows finds a free name then; the names of earlier rows stay.

    Args:
        flat: whether the parts of a prediction have columns of their own, as in CSV and Parquet.
        say: told, in a sentence, which columns were renamed.
    """

    def __init__(self, flat: bool, say: Callable[[str], None] = lambda sentence: None) -> None:
        self.flat, self.say = flat, say
        self._names: dict[str, str] = {}
        self._taken: set[str] = set()
        self._error: str | None = None

    @property
    def error(self) -> str:
        """The name of the errors of rows: ``error``, or ``error_2`` and so on where an earlier row has such a column."""
        if self._error is None:
            names = (ERROR if number == 1 else f"{ERROR}_{number}" for number in itertools.count(1))
            self._error = next(name for name in names if name not in self._taken)
            self._taken.add(self._error)
        return self._error

    def renamed(self, rows: list[Row]) -> list[Row]:
        """Return the rows with the names of the output."""
        if not rows:
            return rows
        if not self._names:
            self._taken.update(answer_columns(rows[0].answers) if self.flat else rows[0].answers)
        if new := [name for name in dict.fromkeys(name for row in rows for name in row.own) if name not in self._names]:
            self._name(new)
        if all(name == own for own, name in self._names.items()):
            return rows
        return [row._replace(own=self.keys(row.own)) for row in rows]

    def keys(self, own: Mapping[str, Any]) -> dict[str, Any]:
        """Return a mapping by columns of the input as one by columns of the output."""
        return {self._names.get(name, name): value for name, value in own.items()}

    def _name(self, new: list[str]) -> None:
        free = [name for name in new if name not in self._taken]
        self._names.update({name: name for name in free})
        self._taken.update(free)
        moved = [name for name in new if name not in self._names]
        for name in moved:
            wanted, number = f"given_{name}", 1
            while (found := wanted if number == 1 else f"{wanted}_{number}") in self._taken:
                number += 1
            self._names[name] = found
            self._taken.add(found)
        if moved:
            told = ", ".join(f"{shown(name, whole=True)} as {shown(self._names[name], whole=True)}" for name in moved[:NAMED])
            more = f" and {len(moved) - NAMED:,} more" if len(moved) > NAMED else ""
            self.say(f"columns of the input with the names of predictions are renamed: {told}{more}")
