"""A table as the branches of a bundle read it, and their predictions for each of its rows (table_scores.py scores them)."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from trunkline.data.corpus import Corpus, View, build_corpus
from trunkline.data.empty import EmptyTexts, empty_rows, is_blank, no_text
from trunkline.data.table import Table
from trunkline.data.values.tags import spans_to_tags
from trunkline.errors import BadInput, listed
from trunkline.model.bundle import Bundle
from trunkline.model.columns import renamed_columns, text_example
from trunkline.model.portions import row_ranges
from trunkline.model.rows import Row


@dataclasses.dataclass
class Noticed:
    """What was noticed while tables were predicted, one after the other."""

    only: str | None = None  # the only column of the first table, where its name does not say that it has the texts; "" if none
    read: dict[str, None] = dataclasses.field(default_factory=dict)  # what the readers of the tables have said
    empty: int = 0  # rows without a text
    first_empty: str = ""
    apart: Counter[str] = dataclasses.field(default_factory=Counter)  # rows whose tokens are not in their text, by branch
    first_apart: str = ""
    joined: int = 0  # rows whose text is made of tokens, in a column of texts that others have
    first_joined: str = ""

    def sentences(self) -> list[str]:
        said = list(self.read)
        if self.empty:
            rows, their = ("1 row has", "its") if self.empty == 1 else (f"{self.empty:,} rows have", "their")
            said.append(f"{rows} no text, so {their} predictions are empty; the first is {self.first_empty}.")
        if self.apart:
            rows = "1 row has" if (most := max(self.apart.values())) == 1 else f"{most:,} rows have"
            said.append(
                f"{rows} tokens that are not in the text, so the words of the text are read instead; "
                f"the first is {self.first_apart}."
            )
        if self.joined:
            rows = "1 row has" if self.joined == 1 else f"{self.joined:,} rows have"
            said.append(f"{rows} tokens and no text, which is the tokens joined by blanks; the first is {self.first_joined}.")
        return said


def predict_table(
    bundle: Bundle,
    table: Table,
    columns: Mapping[str, str] | None = None,
    scores: bool = False,
    *,
    empty_texts: EmptyTexts = "skip",
    noticed: Noticed | None = None,
    words: bool = False,
) -> list[Row]:
    """Return a row of output for each row of `table`: what it held itself, then the prediction of every branch.

    Character offsets in a prediction are of the text in the row.

    Args:
        bundle: the branches.
        table: what to predict.
        columns: the columns to read where they are not those that a branch was trained on, by role (see `renamed_columns`).
        scores: give the score of every label, not only of those chosen.
        empty_texts: whether a row without a text gets empty predictions, or is refused.
        noticed: what is counted.
        words: give the words of each text, and their tags, of a bundle of one token task.

    Raises:
        BadInput: the table is not what some branch reads.
    """
    noticed = Noticed() if noticed is None else noticed
    if noticed.only is None and not columns:
        noticed.only = _only_column(bundle, table)
        if noticed.only not in ("text", ""):  # text: of --text and stdin
            noticed.read[f"{table.named(noticed.only)} is read as the texts, as it is the only one."] = None
    if not columns and noticed.only in table.columns:
        columns = {"text": noticed.only}
    noticed.read.update(dict.fromkeys(table.findings))
    rows: list[Row] = []
    for part in _portions(table):
        own = table.select(part) if len(part) < len(table) else table
        rows += _predicted(
            bundle, own, renamed_columns(bundle.branches, own, columns or {}), scores, empty_texts, noticed, words
        )
    return rows


def _only_column(bundle: Bundle, table: Table) -> str:
    """The only column of a table, to be read as texts whatever column the branches were trained on; "" if that is unclear."""
    if list(table.columns) == ["text"]:
        return "text"
    known = {column for branch in bundle.branches.values() for column in (branch.text, *branch.task.columns())}
    if len(table.columns) > 1 or table.listable() != list(table.columns) or not known.isdisjoint(table.columns):
        return ""
    return next(iter(table.columns), "")


def _portions(table: Table) -> Iterator[range]:
    """The rows in parts of as much text as is predicted at a time: what is made of it takes many times its own memory."""
    return row_ranges(
        sum(len(values[row]) for values in table.columns.values() if isinstance(values[row], str)) for row in range(len(table))
    )


def _predicted(
    bundle: Bundle, own: Table, table: Table, scores: bool, empty_texts: EmptyTexts, noticed: Noticed, words: bool
) -> list[Row]:
    """The rows of `own`, with predictions from `table`, which has the same rows under the names that branches know."""
    answers: list[dict[str, Any]] = [{} for _ in range(len(table))]
    made: dict[str, list[str | None]] = {}  # the texts, where they are made of tokens, by their column in the output
    filled: dict[str, list[Any]] = {}  # columns of texts with the missing ones made of tokens
    nothing: set[int] = set()
    tagged: dict[int, tuple[list[str], list[str]]] = {}
    for view, names in views(bundle, table).items():
        empty = empty_rows(table, view)
        if empty and empty_texts == "refuse":
            raise no_text(table, empty[0], view)
        noticed.first_empty = noticed.first_empty or (table.where(empty[0]) if empty else "")
        nothing.update(empty)
        with_text = [row for row in range(len(table)) if row not in set(empty)]
        try:
            corpus = corpus_for(bundle, names, table.select(with_text) if empty else table, view, keep_text=True)
        except BadInput as error:
            raise unreadable(bundle, names, table, view, error) from None
        for name in names:
            if corpus.apart:
                noticed.apart[name] += len(corpus.apart)
                noticed.first_apart = noticed.first_apart or corpus.table.where(corpus.apart[0])
        texts = dict(zip(with_text, corpus.texts, strict=True))
        if view.text is None and view.tokens is not None:
            made[_free(own, made, view.tokens)] = [texts.get(row) for row in range(len(table))]
        elif blank := [row for row in with_text if is_blank(table.columns[view.text or ""][row])]:
            column = next(name for name, values in own.columns.items() if values is table.columns[view.text or ""])
            filled[column] = [texts.get(row) if row in blank else value for row, value in enumerate(own.columns[column])]
            noticed.joined += len(blank)
            noticed.first_joined = noticed.first_joined or table.where(blank[0])
        found = bundle.only(names).predict_written(corpus.texts, corpus.pairs, units=corpus.units) if with_text else []
        for row, answer in zip(with_text, found, strict=True):
            answers[row].update(answer)
        if words and corpus.units is not None:
            tagged.update(zip(with_text, _tagged(corpus, [answer[names[0]]["spans"] for answer in found]), strict=True))
        for row in empty:
            answers[row].update({name: dict.fromkeys(bundle.branches[name].task.parts) for name in names})
    noticed.empty += len(nothing)
    rows = []
    for row, answer in enumerate(answers):
        held = {name: values[row] for name, values in {**made, **own.columns, **filled}.items()}
        parts = {name: {key: part for key, part in answer[name].items() if scores or key != "scores"} for name in answer}
        rows.append(Row(held, {name: _rounded(parts[name]) for name in bundle.branches}, *tagged.get(row, (None, None))))
    return rows


def _tagged(corpus: Corpus, spans: list[list[dict[str, Any]]]) -> list[tuple[list[str], list[str]]]:
    """The words of each text, and the tags that its spans are."""
    rows = zip(corpus.texts, corpus.units or [], spans, strict=True)
    return [([text[start:end] for start, end in units], spans_to_tags(own, units).tags) for text, units, own in rows]


def _free(table: Table, made: Mapping[str, Any], tokens: str) -> str:
    """A name for the column of texts that are made of `tokens`."""
    names = ["text", f"text of {tokens}", *(f"text of {tokens} {number}" for number in range(2, len(table.columns) + 3))]
    return next(name for name in names if name not in table.columns and name not in made)


def unreadable(bundle: Bundle, names: list[str], table: Table, view: View, error: BadInput) -> BadInput:
    """The error of a table that branches cannot read, with the way out, and which branch it is of several."""
    wayout, said = [], str(error)
    if view.text is not None and view.text not in table.columns and not table.lacks_header():
        if table.lists_all():  # else the error says why it does not
            among = listed(table.listable(), 10, whole=True)
            said = f"{table.source}: no column {view.text!r}, which holds the texts in training, found {among}"
        wayout.append(f"{text_example(table)} names the column of the texts")
    if len(bundle.branches) > len(names):
        wayout.append(f"{_place(bundle, names)} cannot read it, the other branches given could do so without it")
    return BadInput("; ".join([said, *wayout]))


def _place(bundle: Bundle, names: list[str]) -> str:
    """Branches as a message names them: by their folders, where they have one."""
    return " ".join(str(bundle.branches[name].path or name) for name in names)


def views(bundle: Bundle, table: Table) -> dict[View, list[str]]:
    """The columns that each branch reads of `table`, and the branches that read the same ones and so share a pass.

    A branch that does not mind how a text is divided into words takes the words of one that does.
    """
    wanted = {name: getattr(branch.task.config, "tokens", None) for name, branch in bundle.branches.items()}
    given = {tokens for tokens in wanted.values() if tokens in table.columns}
    found: dict[View, list[str]] = {}
    for name, branch in bundle.branches.items():
        tokens = next(iter(given)) if len(given) == 1 else wanted[name] if wanted[name] in given else None
        text = branch.text if branch.text in table.columns or not tokens else None
        found.setdefault(View(text, branch.text_pair, tokens), []).append(name)
    return found


def corpus_for(bundle: Bundle, names: list[str], table: Table, view: View, keep_text: bool = False) -> Corpus:
    """See a table as the branches `names` do."""
    text, pair, tokens = view
    if pair is not None and pair not in table.columns:
        raise BadInput(
            f"{table.source}: no column {pair!r} found, expected one with second texts, as branch {names[0]!r} reads pairs; "
            "--column text_pair=NAME names another"
        )
    units = any(bundle.branches[name].task.answers.units for name in names)
    return build_corpus(table, text=text, text_pair=pair, tokens=tokens, units=units, keep_text=keep_text)


def _rounded(value: Any) -> Any:
    """The same with six digits after the point: what a probability of a network is good for, at most."""
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    return round(value, 6) if isinstance(value, float) else value
