"""Rows of a table made ready to be predicted: everything but the pass of the trunk, which may run meanwhile on other rows.

`prepare` finds what each branch reads of a table, `Prepared.ask` predicts it, and `Prepared.rows` lays out what is written.
What `ask` returns is plain JSON and depends on nothing but the bundle and what `Prepared.digest` is of, so that it can be kept.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trunkline.data.clips import Clip
from trunkline.data.corpus import Corpus, View
from trunkline.data.empty import EmptyTexts, empty_rows, is_blank, no_text
from trunkline.data.table import Table, Unread
from trunkline.data.values.tags import spans_to_tags
from trunkline.data.values.written import spans_with_lf
from trunkline.errors import BadInput
from trunkline.model.bundle import Bundle
from trunkline.model.columns import renamed_columns
from trunkline.model.decision import withheld
from trunkline.model.noticed import Noticed
from trunkline.model.portions import row_ranges
from trunkline.model.rows import Row
from trunkline.model.views import corpus_for, unreadable, views
from trunkline.tasks import Task

Answer = dict[str, dict[str, Any]]  # the prediction of every branch for a row


@dataclass(frozen=True)
class Question:
    """Texts that the branches `names` are asked about, and the rows (from 0) that these are of."""

    names: list[str]
    rows: list[int]
    corpus: Corpus


@dataclass(frozen=True)
class Prepared:
    """Rows of a table as the branches of a bundle read them.

    size (int): how many rows there are.
    questions (tuple[Question, ...]): what the branches are asked; a row without a text is in none.
    columns (dict[str, list]): what the rows hold themselves in the output, by column.
    errors (Mapping[int, Unread]): rows that hold no text but something else where one is read; they are in no question.
    cut (Counter[str]): counts audio clips that are longer than a branch reads.
    """

    size: int
    questions: tuple[Question, ...]
    columns: dict[str, list]
    errors: Mapping[int, Unread]
    cut: Counter[str]

    def digest(self) -> str:
        """Return the sha256 of what the branches read, in hex."""
        read = [(one.names, one.rows, one.corpus.texts, one.corpus.pairs, one.corpus.units) for one in self.questions]
        files = [text.stamp for one in self.questions for text in one.corpus.texts if isinstance(text, Clip)]
        return hashlib.sha256(json.dumps([self.size, read, *([files] if files else [])]).encode()).hexdigest()

    def ask(self, bundle: Bundle, scores: bool = False, min_confidence: float | None = None) -> list[Answer]:
        """Return the predictions for each row, numbers with six digits after the point; their parts are None without a text.

        Args:
            bundle: as of `prepare`.
            scores: give the score of every label, not only of those chosen.
            min_confidence: what a branch is less confident of gets no answer (see `withheld` in decision.py).
        """
        answers = [nothing(bundle, scores, min_confidence) for _ in range(self.size)]
        for one in self.questions:
            texts = one.corpus.texts
            asked = bundle if len(one.names) == len(bundle.branches) else bundle.only(one.names)
            units = one.corpus.units
            found = asked.predict_written(texts, one.corpus.pairs, units=units, cut=self.cut) if texts else []
            for row, answer in zip(one.rows, found, strict=True):
                for name, parts in answer.items():
                    answers[row][name] = _shown(bundle.branches[name].task, parts, scores, min_confidence)
        return answers

    def rows(self, answers: list[Answer], words: bool = False, lf: bool = False) -> list[Row]:
        """Return the rows of the output.

        Args:
            answers: what `ask` has returned for these rows.
            words: give the words of each text, and their tags, of a bundle of one token task.
            lf: give spans as those of texts in which every line end is LF (see `OutputFormat`).
        """
        answers = self._with_lf(answers) if lf else answers
        tagged: dict[int, tuple[list[str], list[str]]] = {}
        for one in self.questions if words else ():
            if one.corpus.units is not None:
                spans = [answers[row][one.names[0]]["spans"] for row in one.rows]
                tagged.update(zip(one.rows, _tagged(one.corpus, spans), strict=True))
        rows = []
        for row, answer in enumerate(answers):
            held = {name: values[row] for name, values in self.columns.items()}
            error = str(self.errors[row].error) if row in self.errors else None
            found, tags = tagged.get(row, (None, None))
            rows.append(Row(held, answer, found, tags, error))
        return rows

    def shortened(self) -> int:
        """Return how many rows have a text that is shorter where every line end is LF."""
        return len({row for _, row, text in _text_rows(self.questions) if "\r\n" in text})

    def _with_lf(self, answers: list[Answer]) -> list[Answer]:
        found = list(answers)
        for one, row, text in _text_rows(self.questions):
            if "\r" not in text:
                continue
            for name in one.names:
                if (spans := found[row][name].get("spans")) is not None:
                    found[row] = {**found[row], name: {**found[row][name], "spans": spans_with_lf(spans, text)}}
        return found


def _text_rows(questions: Iterable[Question]) -> Iterator[tuple[Question, int, str]]:
    """Every text that is asked about, with its row."""
    for one in questions:
        for row, text in zip(one.rows, one.corpus.texts, strict=True):
            yield one, row, text


def nothing(bundle: Bundle, scores: bool = False, min_confidence: float | None = None) -> Answer:
    """The prediction of every branch for a row that none of them reads, as `Prepared.ask` gives it: its parts are None."""
    tasks = {name: branch.task for name, branch in bundle.branches.items()}
    return {name: _shown(task, dict.fromkeys(task.parts), scores, min_confidence) for name, task in tasks.items()}


def _shown(task: Task, parts: Mapping[str, Any], scores: bool, min_confidence: float | None) -> dict[str, Any]:
    given = withheld(task, parts, min_confidence)
    return _rounded({key: part for key, part in given.items() if scores or key != "scores"})


def prepare(
    bundle: Bundle,
    table: Table,
    columns: Mapping[str, str] | None = None,
    *,
    empty_texts: EmptyTexts = "skip",
    noticed: Noticed,
    tolerant: bool = False,
) -> Iterator[Prepared]:
    """Yield the rows of a table, in parts of as much text as is predicted at a time.

    Args:
        bundle: the branches.
        table: what to predict; of several, one after the other, which are parts of one.
        columns: the columns to read where they are not those that a branch was trained on, by role (see `renamed_columns`).
        empty_texts: whether a row without a text is in no question, or is refused.
        noticed: what is counted, over all tables.
        tolerant: leave a row with a value of another type out, with its error.

    Raises:
        BadInput: the table is not what some branch reads.
    """
    if noticed.only is None and not columns:
        noticed.only = _only_column(bundle, table)
        if noticed.only not in ("text", ""):  # text: of --text and stdin
            noticed.read[f"{table.named(noticed.only)} is read as the texts, as it is the only one."] = None
    if not columns and noticed.only:
        columns = {"text": noticed.only}
    noticed.read.update(dict.fromkeys(table.sourced_findings()))
    noticed.read.update(dict.fromkeys(told_offsets({name: branch.task for name, branch in bundle.branches.items()})))
    table = _with_columns(bundle, table, columns or {}, noticed)
    for part in _portions(table):
        own = table.select(part) if len(part) < len(table) else table
        yield _prepared(bundle, own, renamed_columns(bundle.branches, own, columns or {}), empty_texts, noticed, tolerant)


def told_offsets(tasks: Mapping[str, Task]) -> list[str]:
    """A sentence for each task whose own data count offsets in another unit than predictions do."""
    counted = {name: getattr(task.config, "offsets", "characters") for name, task in tasks.items()}
    return [
        f"the offsets of {name!r} in the predictions count characters, while those of its training data count {unit}."
        for name, unit in counted.items()
        if unit != "characters"
    ]


def _only_column(bundle: Bundle, table: Table) -> str:
    """The only column of a table, to be read as texts whatever column the branches were trained on; "" if that is unclear."""
    if list(table.columns) == ["text"]:
        return "text"
    known = {column for branch in bundle.branches.values() for column in (branch.text, *branch.task.columns())}
    if len(table.columns) > 1 or table.listable() != list(table.columns) or not known.isdisjoint(table.columns):
        return ""
    return next(iter(table.columns), "")


def _with_columns(bundle: Bundle, table: Table, columns: Mapping[str, str], noticed: Noticed) -> Table:
    """The table with the columns that are read of the first one: JSON lines have none where no row of a part has a value."""
    if noticed.columns is None:
        reading = {column for branch in bundle.branches.values() for column in (branch.text, branch.text_pair)}
        reading |= {getattr(branch.task.config, "tokens", None) for branch in bundle.branches.values()}
        reading = {name.strip() for name in reading if name is not None}
        noticed.columns = [name for name in table.columns if name.strip() in reading or name in columns.values()]
    missing = [name for name in noticed.columns if name not in table.columns]
    return table.replaced({name: [None] * len(table) for name in missing}) if missing else table


def _portions(table: Table) -> Iterator[range]:
    """The rows in parts of as much text as is predicted at a time: what is made of it takes many times its own memory."""
    return row_ranges(
        sum(len(values[row]) for values in table.columns.values() if isinstance(values[row], str)) for row in range(len(table))
    )


def _prepared(bundle: Bundle, own: Table, table: Table, empty_texts: EmptyTexts, noticed: Noticed, tolerant: bool) -> Prepared:
    """The rows of `own`; `table` has the same rows under the names that branches know."""
    errors: dict[int, Unread] = {}
    empty: dict[View, list[int]] = {view: empty_rows(table, view) for view in views(bundle, table)}
    while (questions := _questions(bundle, table, empty, errors, tolerant)) is None:
        pass
    made: dict[str, list[str | None]] = {}  # the texts, where they are made of tokens, by their column in the output
    filled: dict[str, list[Any]] = {}  # columns of texts with the missing ones made of tokens
    nothing: set[int] = set()
    for view, one in questions.items():
        if empty[view] and empty_texts == "refuse":
            raise no_text(table, empty[view][0], view)
        noticed.first_empty = noticed.first_empty or (table.where(empty[view][0]) if empty[view] else "")
        noticed.reads = view.what
        nothing.update(empty[view])
        for name in one.names:
            if one.corpus.apart:
                noticed.apart[name] += len(one.corpus.apart)
                noticed.first_apart = noticed.first_apart or one.corpus.table.where(one.corpus.apart[0])
        texts = dict(zip(one.rows, one.corpus.texts, strict=True))
        if view.text is None and view.tokens is not None:
            made[_free(own, made, view.tokens)] = [texts.get(row) for row in range(len(table))]
        elif blank := [row for row in one.rows if is_blank(table.columns[view.text or ""][row])]:
            column = next(name for name, values in own.columns.items() if values is table.columns[view.text or ""])
            filled[column] = [texts.get(row) if row in blank else value for row, value in enumerate(own.columns[column])]
            noticed.joined += len(blank)
            noticed.first_joined = noticed.first_joined or table.where(blank[0])
    noticed.empty += len(nothing - errors.keys())
    return Prepared(len(table), tuple(questions.values()), {**made, **own.columns, **filled}, errors, noticed.cut)


def _questions(
    bundle: Bundle, table: Table, empty: Mapping[View, list[int]], errors: dict[int, Unread], tolerant: bool
) -> dict[View, Question] | None:
    """What the branches are asked about the rows that have a text and are not among `errors`.

    None where more rows cannot be read, which are among `errors` then.
    """
    found: dict[View, Question] = {}
    for view, names in views(bundle, table).items():
        without = {*empty[view], *errors}
        rows = [row for row in range(len(table)) if row not in without]
        try:
            corpus = corpus_for(bundle, names, table.select(rows) if without else table, view, keep_text=True)
        except BadInput as error:
            more = _unreadable_rows(bundle, names, table, view, rows) if tolerant else {}
            if not more:
                raise unreadable(bundle, names, table, view, error) from None
            errors.update(more)
            return None
        found[view] = Question(names, rows, corpus)
    return found


def _unreadable_rows(bundle: Bundle, names: list[str], table: Table, view: View, rows: list[int]) -> dict[int, Unread]:
    """The rows that cannot be read by themselves; none where it is a column that cannot be read, whatever is in it."""
    found: dict[int, Unread] = {}
    try:
        corpus_for(bundle, names, table.select([]), view, keep_text=True)
    except BadInput:
        return found
    for row in rows:
        try:
            corpus_for(bundle, names, table.select([row]), view, keep_text=True)
        except BadInput as error:
            found[row] = Unread(row, table.where(row), error)
    return found


def _tagged(corpus: Corpus, spans: list[list[dict[str, Any]]]) -> list[tuple[list[str], list[str]]]:
    """The words of each text, and the tags that its spans are."""
    rows = zip(corpus.texts, corpus.units or [], spans, strict=True)
    return [([text[start:end] for start, end in units], spans_to_tags(own, units).tags) for text, units, own in rows]


def _free(table: Table, made: Mapping[str, Any], tokens: str) -> str:
    """A name for the column of texts that are made of `tokens`."""
    names = ["text", f"text of {tokens}", *(f"text of {tokens} {number}" for number in range(2, len(table.columns) + 3))]
    return next(name for name in names if name not in table.columns and name not in made)


def _rounded(value: Any) -> Any:
    """The same with six digits after the point: what a probability of a network is good for, at most."""
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    return round(value, 6) if isinstance(value, float) else value
