"""What a source of data holds, column by column, and the sentences that say where in it something was found."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import RLock
from typing import Any, NamedTuple

from trunkline.errors import BadInput, listed, literal, unknown_name

NO_HEADER = "the names of the columns look like a row of data; expected a header, a first row that names them"
LONGEST_NAME, MOST_BLANKS = 80, 6  # of what is taken for the name of a column
_NAMES = frozenset(("text", "label", "labels", "id", "tokens", "tags"))  # a header has one of them more often than not
_LOOKED_AT = 100  # values of a column
_MANY = 10  # columns of one row
_TEXT_LENGTH = 6  # a name is not taken for a text where texts are this many times as long, on average
# A question with what forms put behind it, such as "(optional)" or "*"; or a number that forms put before their questions.
_ITEM = re.compile(
    r"\?[\"'\u201d\u2019]?\s*(\*|[(\[].*[)\]])?$|\((optional|required)\)$|^(Q|Question )?[0-9]{1,3}[.):] ", re.IGNORECASE
)
_NAMELESS = re.compile(r"column ([1-9][0-9]*)")  # what readers call a column without a name


class Unread(NamedTuple):
    """A row of the source that could not be read and is not in the table: how many rows of the table come before it, where it
    is as messages name it, and what is wrong with it.
    """

    before: int
    where: str
    error: BadInput


@dataclass(frozen=True)
class Table:
    """Rows of a source, kept by column. Nothing in it is changed once it is made, nor is anything that `parsed` returns.

    source (str): how messages name it: a path as the user wrote it, or ``"snips:train"``.
    columns (dict[str, list]): all of one length; None is a missing value.
    lines (Sequence[int] | None): 1-based line of each row in its file, where the file has lines.
    files (Sequence[str] | None): the file of each row, where several were read as one source.
    rows (Sequence[int] | None): 1-based row of each row in its file, where that is not its place here.
    types (Mapping[str, Any] | None): the Arrow types of columns, where the source has them.
    findings (tuple[str, ...]): what its reader left out, merged or changed, a sentence with a count each; `select` keeps
        them, as they are about the source.
    index (Sequence[object] | None): what the data frame that it was made of calls each row, where not by its place.
    headings (Mapping[str, str]): what columns are called in the source that stand here under another name.
    strings (frozenset[str]): columns of Python strings that a program gave, which are labels as they stand: in a file, which
        has no types, "True" and "1.0" may be other spellings of true and 1.
    read_as (Mapping[str, str]): columns of the source that are not here, and those here that hold their values in another form.
    unread (tuple[Unread, ...]): rows that are missing here as they could not be read, of a reader that does not stop there; in
        order. `select` leaves them out.
    """

    source: str
    columns: dict[str, list]
    lines: Sequence[int] | None = None
    files: Sequence[str] | None = None
    rows: Sequence[int] | None = None
    types: Mapping[str, Any] | None = None
    findings: tuple[str, ...] = ()
    headings: Mapping[str, str] = field(default_factory=dict)
    index: Sequence[object] | None = None
    read_as: Mapping[str, str] = field(default_factory=dict)
    unread: tuple[Unread, ...] = ()
    strings: frozenset[str] = frozenset()
    _parsed: dict[Hashable, list] = field(default_factory=dict, init=False, repr=False, compare=False)
    _parsing: Any = field(default_factory=RLock, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def where(self, row: int) -> str:
        """Name a row (0-based) as a user finds it: ``"reviews.csv line 12"``, or ``"reviews.parquet row 12"``, from 1."""
        source = self.files[row] if self.files is not None else self.source
        if self.lines is not None:
            return f"{source} line {self.lines[row]}"
        place = f"{source} row {row + 1 if self.rows is None else self.rows[row]}"
        return place if self.index is None else f"{place} (index {self.index[row]!r})"

    def column(self, name: str, where: str = "") -> list:
        """Return a column; BadInput names the nearest one there is. `where` is what asked for it, e.g. ``"data.text"``."""
        if name not in self.columns:
            opening = f"{self.source}: column" + (f" for {where}" if where else "")
            if self.lacks_header():
                raise BadInput(f"{opening}: unknown name {name!r}, and {NO_HEADER}")
            if name in self.read_as:
                raise BadInput(f"{opening}: {name!r} is read as {self.read_as[name]!r}; expected that name")
            raise self._unknown(opening, name)
        return self.columns[name]

    def _unknown(self, opening: str, name: str) -> BadInput:
        """The error for a column that is not there; it shows no name that may be a text, as where a file has no header."""
        known = [column for column in self.columns if self.headings.get(column, column) == column]
        told = self.listable()
        found = f"unknown name {literal(name)}; expected the name of one of its {len(known)} columns"
        said = [unknown_name("", name, told, whole=True).problem if told else found]
        if hidden := len(known) - len(told):
            they = "1 column has a name that reads" if hidden == 1 else f"{hidden} columns have names that read"
            said.append(f"{they} like a text; if the file has no header, add a first row that names the columns")
        if unnamed := [column for column in told if self._is_unnamed(column)]:
            said.append(f"{unnamed[0]} has no name in the header and is called {unnamed[0]!r}")
        return BadInput("; ".join(said), where=opening)

    def listable(self) -> list[str]:
        """The columns of the source whose names a message may list: not those that may be texts, of a file without a header."""
        if self.lacks_header() or self._names_are_values():
            return []
        own = [name for name in self.columns if self.headings.get(name, name) == name]
        asked = {name for name in own if len(own) > 1 and _asks(name, self.columns[name])}
        return [name for name in own if name in asked or not _reads_like_a_text(name, self.columns[name])]

    def _names_are_values(self) -> bool:
        """Whether rows have one value each, most in a column of its own: objects such as ``{"a text": "its label"}``."""
        if len(self.columns) < 2 or 2 * len(self.columns) <= len(self) or _NAMES & {name.lower() for name in self.columns}:
            return False
        there = [value for values in self.columns.values() for value in values if value is not None]
        if len(self) == 1:  # one object of many texts, in which labels recur
            return len(there) >= _MANY and 2 * len(set(map(repr, there))) <= len(there)
        return len(there) == len(self)

    def lists_all(self) -> bool:
        """Whether `listable` has every column of the source."""
        return len(self.listable()) == sum(self.headings.get(name, name) == name for name in self.columns)

    def named(self, column: str) -> str:
        """How messages name a column: by what it is called in the source, or by its position where it has no name."""
        name = self.headings.get(column, column)
        return f"{name} (which has no name)" if self._is_unnamed(name) else f"column {name!r}"

    def _is_unnamed(self, name: str) -> bool:
        match = _NAMELESS.fullmatch(name)
        return match is not None and list(self.columns).index(name) + 1 == int(match[1]) if name in self.columns else False

    def sourced_findings(self) -> list[str]:
        """The findings of the reader, each with the source that it is about."""
        return [finding if self.files is not None else f"{self.source}: {finding}" for finding in self.findings]

    def parsed(self, key: Hashable, parse: Callable[[], list]) -> list:
        """Return what `parse` makes of the rows, one value for each; it runs once for a `key`, also in several threads.

        What it returned is kept as long as the table, and `select` hands on the values of the rows that it takes. Parsers keep
        the strings and lists of the column itself where nothing in them has to change, so that they are not held twice.
        """
        with self._parsing:
            if key not in self._parsed:
                values = parse()
                assert len(values) == len(self), "a parser gives a value for each row"
                self._parsed[key] = values
            return self._parsed[key]

    def replaced(self, columns: Mapping[str, list]) -> Table:
        """Return the table with other values in some columns, for the same rows."""
        types = None if self.types is None else {name: kind for name, kind in self.types.items() if name not in columns}
        return replace(self, columns={**self.columns, **columns}, types=types)

    def lacks_header(self) -> bool:
        """Whether the names of the columns look like a row: one recurs in its column, or is a text like those below it.

        A long name above short values is the question of a survey; so is one that is a question where the texts below are
        none. Among other columns a long name counts only if one of their names looks like a value too.
        """
        if _NAMES & {name.lower() for name in self.columns}:
            return False
        if any(values.count(name) > 1 and not _ticked(name, values) for name, values in self.columns.items()):
            return True
        texts = {name for name, values in self.columns.items() if _is_long(name) and _as_long(name, values)}
        if not any(not _asks(name, self.columns[name]) for name in texts):
            return False
        others = [
            (name, values)
            for name, values in self.columns.items()
            if name not in texts and not self._is_unnamed(name) and any(value is not None for value in values[:_LOOKED_AT])
        ]
        return not others or any(_like_a_value(name, values) for name, values in others)

    def select(self, rows: Iterable[int]) -> Table:
        """Return the table of the given rows (0-based), in that order."""
        rows = [int(row) for row in rows]

        def pick(values: Sequence[Any]) -> list:
            return [values[row] for row in rows]

        chosen = Table(
            self.source,
            {name: pick(values) for name, values in self.columns.items()},
            None if self.lines is None else pick(self.lines),
            None if self.files is None else pick(self.files),
            pick(range(1, len(self) + 1) if self.rows is None else self.rows) if self.lines is None else None,
            self.types,
            self.findings,
            self.headings,
            None if self.index is None else pick(self.index),
            strings=self.strings,
            read_as=self.read_as,
        )
        with self._parsing:
            chosen._parsed.update({key: pick(values) for key, values in self._parsed.items()})
        return chosen


def _reads_like_a_text(name: str, values: list) -> bool:
    """Whether a name has several words, as the values below it have, and is not much shorter."""
    texts = [value for value in values[:_LOOKED_AT] if isinstance(value, str) and any(map(str.isalpha, value))]  # no dates
    if " " not in name.strip() or not texts or _NAMELESS.fullmatch(name):
        return False
    mean_length, mean_blanks = (sum(map(count, texts)) / len(texts) for count in (len, lambda text: text.count(" ")))
    return mean_blanks >= 0.5 and mean_length <= _TEXT_LENGTH * len(name) and not name.istitle()


def _ticked(name: str, values: list) -> bool:
    """Whether a column holds nothing but its own name and blanks, as surveys write an option that was chosen."""
    return None in values and all(value is None or value == name for value in values)


def _is_long(name: str) -> bool:
    return len(name) > LONGEST_NAME or name.count(" ") >= MOST_BLANKS


def _asks(name: str, values: list) -> bool:
    """Whether a name is a question, or the item of a form, while few of the texts below it are."""
    texts = [value for value in values[:_LOOKED_AT] if isinstance(value, str)]
    return _ITEM.search(name.strip()) is not None and 4 * sum(_ITEM.search(text.strip()) is not None for text in texts) < len(
        texts
    )


def _like_a_value(name: str, values: list) -> bool:
    """Whether the name of a column is one of its values, or is written as half of them are: a number, a date, a code."""
    some = [str(value) for value in values[:_LOOKED_AT] if value is not None]
    if name in some or name in values:
        return not _ticked(name, values)
    if not any(character.isdecimal() for character in name):
        return False
    shape = _shape(name)
    return 2 * sum(_shape(value) == shape for value in some) >= len(some)


def _shape(text: str) -> str:
    """A text with each number as 0, and each run of letters as a: two dates written alike have the same."""
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"[0-9]+", "0", re.sub(r"[+-]?[0-9]+[.,][0-9]+", "0", text)))


def _as_long(name: str, values: list) -> bool:
    """Whether a column's values are texts that are not much shorter than its name."""
    lengths = [len(value) for value in values[:_LOOKED_AT] if isinstance(value, str)]
    return bool(lengths) and 5 * sum(lengths) >= len(name) * len(lengths)


def with_rows(table: Table) -> Table:
    """Return the table; BadInput where it has no row, with the reader's first finding."""
    if not len(table):
        said = f" ({table.findings[0].rstrip('.')})" if table.findings else ""
        raise BadInput(f"{table.source}: no rows found{said}, expected at least one")
    return table


def concatenate(tables: Sequence[Table]) -> Table:
    """Put tables of the same columns below one another; BadInput names the first that differs and in which columns."""
    first = tables[0]
    for other in tables[1:]:
        if different := first.columns.keys() ^ other.columns.keys():
            shown = {*first.listable(), *other.listable()}
            named = listed(sorted(different), whole=True) if different <= shown else f"{len(different)} names"
            raise BadInput(
                f"{other.source}: its columns differ from those of {first.source} in {named}; expected the same columns"
            )
    if len(tables) == 1:
        return first
    lines: list[int] | None = None
    if all(table.lines is not None for table in tables):
        lines = [line for table in tables for line in table.lines or ()]
    return Table(
        " + ".join(table.source for table in tables),
        {name: [value for table in tables for value in table.columns[name]] for name in first.columns},
        lines,
        [table.source for table in tables for _ in range(len(table))],
        [row for table in tables for row in table.rows or range(1, len(table) + 1)] if lines is None else None,
        findings=tuple(f"{table.source}: {finding}" for table in tables for finding in table.findings),
        read_as=first.read_as,
    )
