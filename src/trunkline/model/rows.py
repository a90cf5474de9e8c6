"""Rows of output: what the input held and what was predicted, every column under a name of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from trunkline.errors import shown

NAMED = 10  # renamed columns that a message names


class Row(NamedTuple):
    """What a row of the input held itself, and the prediction of every branch."""

    own: dict[str, Any]
    answers: dict[str, dict[str, Any]]


def answer_columns(answers: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[str, str]]:
    """Return the columns of a table that hold predictions, each with its branch and the part of the prediction.

    The main part has the branch's name, others stand beside it as ``NAME.score``.
    """
    return {
        f"{name}.{key}" if place else name: (name, key) for name, answer in answers.items() for place, key in enumerate(answer)
    }


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
        return [Row(self.keys(row.own), row.answers) for row in rows]

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
            told = ", ".join(f"{shown(name)} as {shown(self._names[name])}" for name in moved[:NAMED])
            more = f" and {len(moved) - NAMED:,} more" if len(moved) > NAMED else ""
            self.say(f"columns of the input that have the names of predictions are written under others: {told}{more}")
