"""Label spaces: which labels there are and in which order, weights for them, and the errors that name a label."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from trunkline.data.columns import label_of
from trunkline.data.corpus import Corpus
from trunkline.data.table import Table
from trunkline.data.values.label_spelling import spelled_alone
from trunkline.data.values.missing import is_listed, is_missing, missing_hint, spells_missing
from trunkline.errors import BadInput, listed, shown
from trunkline.tasks.label_types import in_type


def _as_text(value: Any) -> Any:
    # In Python labels may be numbers and truth values; write them as data.columns does. In YAML they keep their spelling.
    label = repr(value) if isinstance(value, float) and not value.is_integer() else label_of(value)
    return value if label is None else label


def _as_texts(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_text(v) for v in value]
    if isinstance(value, dict):
        return {_as_text(k): v for k, v in value.items()}
    return "none" if value is None else value


Scalar = str | int | bool  # what a label may be in YAML
Label = Annotated[str, BeforeValidator(_as_text, json_schema_input_type=Scalar)]
LabelList = Annotated[list[str], BeforeValidator(_as_texts, json_schema_input_type=list[Scalar]), Field(min_length=1)]
MissingList = Annotated[
    list[str],
    BeforeValidator(
        lambda value: [value] if isinstance(value, str) else _as_texts(value), json_schema_input_type=str | list[Scalar]
    ),
]
UnseenLabels = Literal["count", "refuse"]
MOST_NAMED = 100
LONGEST_LABEL, MOST_BLANKS = 80, 6  # of what is not taken for a text
Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
ClassWeights = Annotated[
    Literal["balanced", "none"] | dict[str, Weight],
    BeforeValidator(_as_texts, json_schema_input_type=Literal["balanced", "none"] | dict[str, Weight] | None),
]


def place(table: Table, columns: Sequence[str]) -> str:
    """Return how messages name whole columns of a source."""
    return f"{table.source}, {' and '.join(map(table.named, columns))}"


class NoLabels(BadInput):
    """No row of a split is labelled."""


def refuse_unlabelled(labelled: bool, corpus: Corpus, columns: Sequence[str]) -> None:
    """Raise NoLabels unless any row is labelled: nothing could be learned or measured."""
    if not labelled:
        raise NoLabels(f"{place(corpus.table, columns)}: found no row with a label, expected at least one")


def counted(labels: Sequence[str], numbers: np.ndarray) -> dict[str, int]:
    """Return how often the number of each label is among `numbers`; numbers of no label are left out."""
    known = numbers[(numbers >= 0) & (numbers < len(labels))]
    return dict(zip(labels, np.bincount(known, minlength=len(labels)).tolist(), strict=True))


def may_name(labels: Sequence[str]) -> bool:
    """Whether messages may name labels of the data, one or the first few: not where there are so many that they may be the
    words of texts, as they are of a column of texts with ``separator: " "``, nor where one reads like a text itself.
    """
    return len(labels) <= MOST_NAMED and not any(
        len(label) > LONGEST_LABEL or label.count(" ") > MOST_BLANKS for label in labels
    )


class UnknownLabel(BadInput):
    """A label that is not among those of the task."""


def unknown_label(where: str, label: str, known: Iterable[str]) -> UnknownLabel:
    """Return the error for a label that is not among the `known` ones; it names the nearest, or the first few."""
    known = list(known)
    near, whole = difflib.get_close_matches(label, known, n=1, cutoff=0.6), may_name([*known, label])
    hint = f"did you mean {shown(near[0], whole)}?" if near else f"expected one of {listed(known, 8, whole=whole)}"
    hint = hint if may_name(known) else "expected one of them"
    problem = f"found the label {shown(label, whole)}, which is not among the {len(known)} labels of the task; {hint}"
    return UnknownLabel(problem, where=where)


def unknown_in_row(table: Table, row: int, column: str, label: str, known: Iterable[str]) -> UnknownLabel:
    """Return `unknown_label` for a cell: file, line and column; they say enough where labels are not to be named."""
    where, known = f"{table.where(row)}, {table.named(column)}", list(known)
    if may_name([*known, label]):
        return unknown_label(where, label, known)
    problem = f"found a label that is not among the {len(known)} labels of the task; expected one of them"
    return UnknownLabel(problem, where=where)


@dataclass(frozen=True)
class Reading:
    """How the labels of rows are read that are only scored.

    count (bool): labels that the task does not have count as errors; otherwise the first is refused.
    names (Mapping[str, str]): labels of the data that mean another label of the task.
    """

    count: bool = True
    names: Mapping[str, str] = field(default_factory=dict)


STRICT = Reading(count=False)


class Numbering:
    """The numbers of labels in a corpus. Those that the task does not have are refused, or numbered after its own.

    Args:
        labels: of the task, in order.
        reading: how others are read.
        corpus: where the labels are.
        column: that they are in.
    """

    def __init__(self, labels: Sequence[str], reading: Reading, corpus: Corpus, column: str) -> None:
        self.labels, self.reading, self.table, self.column = list(labels), reading, corpus.table, column
        self.numbers = positions(labels)
        self.numbers |= {given: self.numbers[label] for given, label in reading.names.items() if label in self.numbers}
        self.unseen: Counter[str] = Counter()  # rows by label; in the order of their numbers
        self.rows: set[int] = set()
        self._first: BadInput | None = None
        self._known = False

    def of(self, row: int, labels: Sequence[str]) -> list[int]:
        """Return the numbers of the labels of a row; BadInput for one that is refused."""
        try:
            found = [self.numbers[label] for label in labels]
        except KeyError:
            found = [self._number(row, label) for label in labels]
        if self.unseen:
            for label in self.unseen.keys() & set(labels):
                self.unseen[label] += 1
                self.rows.add(row)
        self._known = self._known or any(number < len(self.labels) for number in found)
        return found

    def _number(self, row: int, label: str) -> int:
        if label not in self.numbers and (known := spelled_alone(label)) in self.numbers:  # a string of a program
            self.numbers[label] = self.numbers[known]
        if label not in self.numbers:
            error = unknown_in_row(self.table, row, self.column, label, self.labels)
            if not self.reading.count:
                raise error
            self._first = self._first or error
            self.numbers[label] = len(self.labels) + len(self.unseen)
            self.unseen[label] = 0
        return self.numbers[label]

    def check(self) -> None:
        """Raise BadInput where labels were found and the task has none of them: then nothing could be scored."""
        if self._first is not None and not self._known:
            raise UnknownLabel(f"{self._first}; the task has none of the labels that are found there")


def unseen_sentence(name: str, labels: Sequence[str], unseen: Mapping[str, int], rows: int) -> str:
    """What to say of rows with labels that the task `name`, which has `labels`, does not have."""
    counted = f"{rows:,} {'row has' if rows == 1 else 'rows have'} labels that {name!r} was not trained on and count as errors"
    if not may_name([*labels, *unseen]):
        return f"{counted}: {len(unseen):,} labels."
    named = []
    for label, count in Counter(unseen).most_common(8):
        near = nearest_label(label, labels)
        named.append(f"{shown(label, whole=True)} ({count:,}{'' if near is None else f', nearest: {shown(near, whole=True)}'})")
    more = f" and {len(unseen) - 8:,} more" if len(unseen) > 8 else ""
    return f"{counted}: {', '.join(named)}{more}."


def nearest_label(label: str, known: Iterable[str]) -> str | None:
    """Return the label among `known` that `label` may be another spelling of, such as "sports" for "Sport"; None if none is.

    Labels with other digits are other labels.
    """
    folded = {one.casefold(): one for one in known if _digits(one) == _digits(label)}
    near = difflib.get_close_matches(label.casefold(), folded, n=1, cutoff=0.7)
    return folded[near[0]] if near else None


def _digits(label: str) -> list[str]:
    return [character for character in label if character.isdecimal()]


def label_space(seen: Iterable[str], listed: list[str] | None, key: str) -> list[str]:
    """Return the labels in order: as `listed` by the user, else sorted, whole numbers as numbers.

    Raises:
        BadInput: a list that is not a set.
    """
    if listed is None:
        labels = set(seen)
        return sorted(labels, key=int) if None not in in_type(labels, "int") else sorted(labels)
    if twice := [label for label, n in Counter(listed).items() if n > 1]:
        raise BadInput(key=key, found=f"{shown(twice[0])} twice", expected="each label once")
    return list(listed)


def named_weights(setting: Any, labels: list[str], key: str) -> list[float] | None:
    """Return the weights that the user gave by label, in the order of `labels`, 1 for others; None if none were given."""
    if not isinstance(setting, dict):
        return None
    number, weights = positions(labels), [1.0] * len(labels)
    for label, weight in setting.items():
        if label not in number:
            raise unknown_label("", label, labels).at("", key)
        weights[number[label]] = float(weight)
    return weights


_PLURALS: dict[type, str] = {str: "strings", bool: "truth values", int: "numbers", float: "numbers"}


def of_two_types(task: str, values: Iterable[Any], labels: Sequence[str | None]) -> list[str]:
    """Return a sentence for labels of several types, as all are strings then, or one for labels that stand in the data both as
    strings and as other values, such as "1" and 1.
    """
    types: dict[str, set[bool]] = {}
    counts: Counter[str] = Counter()
    for value, label in zip(values, labels, strict=True):
        if label is not None:
            types.setdefault(label, set()).add(isinstance(value, str))
            counts[_PLURALS.get(type(value), type(value).__name__)] += 1
    if len(counts) < 2:
        return []
    if not (both := sorted(label for label, found in types.items() if len(found) > 1)):
        *most, last = (f"{name} ({count:,})" for name, count in counts.most_common())
        named = f"{', '.join(most)} and {last}"
        return [f"{task!r}: the labels are of several types, {named}; predictions give all of them as strings."]
    stand, count = ("1 label stands", "counts") if len(both) == 1 else (f"{len(both):,} labels stand", "count")
    said = f"{task!r}: {stand} in the data both as strings and as numbers or truth values, and {count} as one"
    return [f"{said}: {listed(both, 8, whole=True)}." if may_name(list(types)) else f"{said}."]


def rarest_labels(rows: Sequence[Collection[str] | None]) -> list[str]:
    """Return, per row, the label that the fewest rows have, so that a split keeps rare labels; "" for missing rows."""
    counts = Counter(label for row in rows if row is not None for label in row)
    return ["" if row is None else min(row, key=lambda x: (counts[x], x)) if row else "(none)" for row in rows]


def positions(labels: Sequence[str]) -> dict[str, int]:
    """Return the number of each label, also under the name that values/label_spelling.py gives it (``True``)."""
    found = {label: number for number, label in enumerate(labels)}
    for number, label in enumerate(labels):
        found.setdefault(spelled_alone(label), number)
    return found


def skipped(
    task: str, corpus: Corpus, columns: Sequence[str], present: Sequence[bool], missing: Sequence[str] | None
) -> list[str]:
    """Return the sentence that counts the rows of `corpus` which a task skips, as they lack a label; none where all have one.

    Args:
        task: its name.
        columns: that hold its labels.
        present: per row, whether it has a label.
        missing: the strings that the config lists as missing values.
    """
    gone = [row for row, there in enumerate(present) if not there]
    if not gone:
        return []
    table, words = corpus.table, frozenset(missing or ())
    cells = [table.columns[name][row] for name in columns for row in gone]
    spelled = Counter(
        str(cell).strip() for cell in cells if is_listed(cell, words) or (isinstance(cell, str) and spells_missing(cell))
    )
    of = (
        table.named(columns[0])
        if len(columns) == 1
        else f"one of {len(columns):,} columns ({_blanks(table, columns, gone, words)})"
    )
    such = "".join(f", {count:,} of them {shown(word)}" for word, count in spelled.most_common(4))
    have, are = ("has", "is") if len(gone) == 1 else ("have", "are")
    return [f"{len(gone):,} of {len(present):,} rows {have} no value in {of}{such}, and {are} skipped by {task!r}."]


def _blanks(table: Table, columns: Sequence[str], rows: Sequence[int], words: Collection[str]) -> str:
    """The columns in which `rows` have no value, those with the most first, and in how many of them each has none."""
    counts = Counter({name: sum(_absent(table.columns[name][row], words) for row in rows) for name in columns})
    found = [f"{shown(name, whole=True)} {count:,}" for name, count in counts.most_common(8) if count]
    return ", ".join(found) + (", ..." if sum(map(bool, counts.values())) > 8 else "")


def _absent(value: Any, words: Collection[str]) -> bool:
    return (
        is_missing(value)
        or is_listed(value, words)
        or (isinstance(value, str) and (not value.strip() or spells_missing(value)))
    )


def doubtful(
    task: str, counts: Mapping[str, int], missing: Sequence[str] | None, meant: Collection[str] | None = None
) -> list[str]:
    """Return a sentence for labels that usually stand for a missing value, and for those that differ only in case or blanks.

    Args:
        task: its name.
        counts: label -> rows that have it.
        missing: the strings that the config lists as missing values; an empty list says that there are none.
        meant: the labels that the config lists, which are in no doubt.
    """
    found = []
    counts = {label: count for label, count in counts.items() if label not in (meant or ())}
    empty = [label for label in sorted(counts) if spells_missing(label)] if missing != [] else []
    if empty and len(counts) > len(empty):
        named = " and ".join(f"{shown(label)} ({counts[label]:,})" for label in empty)
        counts_as = "counts as a label, but often stands" if len(empty) == 1 else "count as labels, but often stand"
        found.append(
            f"{task!r}: {named} {counts_as} for a missing value; {missing_hint([*(missing or ()), *empty])} skips these rows."
        )
    alike: dict[str, list[str]] = {}
    for label in sorted(counts):
        alike.setdefault(" ".join(label.casefold().split()), []).append(label)
    twins = [labels for labels in alike.values() if len(labels) > 1]
    if twins:
        named = "; ".join(" and ".join(map(repr, labels)) for labels in twins[:4]) + ("; ..." if len(twins) > 4 else "")
        times = f"{len(twins):,} case{'s' * (len(twins) > 1)}"
        said = f"{task!r}: labels that differ only in case or blanks count as different ones ({times})"
        one = "if they are one, write them alike in the data"
        found.append(f"{said}: {named}; {one}." if may_name(list(counts)) else f"{said}; {one}.")
    return found
