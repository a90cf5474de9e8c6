"""What can be seen of one column at a glance: types, numbers, lists, how many different values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trunkline.data import columns, label_sets
from trunkline.data.guess.names import TEXT_NAMES, names_codes, names_id, names_nothing
from trunkline.data.table import Table
from trunkline.data.values.label_spelling import spelled_alike
from trunkline.data.values.missing import is_missing, spells_missing
from trunkline.data.values.numerals import PLAIN, are_codes, as_number, notation_of, sign_beside
from trunkline.errors import BadInput

MOST_LABELS, MOST_LABEL_LENGTH = 500, 80
FEW = 0.1  # share of values that are no numbers, below which a column is said to be almost one of numbers


class Look:
    """One column.

    rows, there (list): the rows that have a value, and their values: lists that are written as text as lists, days as text.
    n, distinct (int): values that are there, different ones.
    strings, truths, lists, spans, word_lists (bool): what all values are.
    numbers (list[float] | None): the values if all are numbers with an amount; codes (bool): they are codes, such as 007, 2E3.
    notation (Notation): how numbers that are strings are written.
    vectors (int | None): the length of multi-hot vectors.
    missing (str): the end of a sentence, on rows without a value.
    broken (str): why the values cannot be read.
    signed (bool): the values are numbers of which some have a percent sign or a currency beside them.
    trouble (str): what keeps the values, most of which are numbers, from being numbers.
    """

    def __init__(self, table: Table, name: str, missing: columns.Missing = None) -> None:
        self.listed = missing
        self.table, self.name, self.broken, self.trouble = table, name, "", ""
        values = self._values()
        self.rows = [row for row, value in enumerate(values) if value is not None]
        self.there = [values[row] for row in self.rows]
        self.notation, self.codes, self.signed = PLAIN, False, False
        self.truths = self._all(lambda v: isinstance(v, bool))
        self.lists = self._all(lambda v: isinstance(v, list))
        self.numbers = None if self.truths or self.lists or not self.there else self._numbers()
        if self.numbers is None and not self.lists and not self.truths:
            self._as_labels()
        self.n = len(self.there)
        absent = len(values) - self.n
        self.missing = (
            f"; {absent:,} of {len(values):,} rows {'is' if absent == 1 else 'are'} without a value" if absent else ""
        )
        self.strings = self._all(lambda v: isinstance(v, str))
        self.spans = self.lists and self._parts(lambda v: isinstance(v, dict) and {"start", "end", "label"} <= v.keys())
        self.word_lists = self.lists and self._parts(lambda v: isinstance(v, str))
        self.vectors = label_sets.vector_length(table, name, missing) if self.lists else None
        if self.lists and self.vectors is None and (odd := label_sets.odd_vector(table, name, missing)) is not None:
            self.broken = str(odd)
        alike = self.numbers if self.numbers is not None else self.there if self.strings or self.truths else []
        self.distinct = len(set(alike))
        self.length = sum(map(len, self.there)) / self.n if self.strings else 0.0

    def _values(self) -> list:
        try:
            values = columns.cells(self.table, self.name, missing=self.listed)
        except BadInput as error:
            self.broken = str(error)
            values = [None if is_missing(value) else value for value in self.table.columns[self.name]]
        return [None if isinstance(value, str) and not value.strip() else value for value in values]

    def _all(self, test: Callable[[Any], bool]) -> bool:
        return len(self.there) > 0 and all(map(test, self.there))

    def _parts(self, test: Callable[[Any], bool]) -> bool:
        return any(self.there) and all(test(part) for value in self.there for part in value)

    def _numbers(self) -> list[float] | None:
        """The values as numbers, what spells a missing one dropped; None where some are none, or where they are codes."""
        spelled = [columns.usual(self.listed) and isinstance(value, str) and spells_missing(value) for value in self.there]
        kept = [i for i, gone in enumerate(spelled) if not gone]
        values = [self.there[i] for i in kept]
        if not values or any(isinstance(value, bool | list | dict) for value in values):
            return None
        written = notation_of([value for value in values if isinstance(value, str)])
        numbers = [written.best.read(value) if isinstance(value, str) else as_number(value) for value in values]
        found = [number for number in numbers if number is not None]
        if len(found) < len(values):
            rest = [value for value, number in zip(values, numbers, strict=True) if number is None]
            signs = [sign_beside(value) if isinstance(value, str) else None for value in rest]
            self.signed = None not in signs
            if self.signed:
                named = " or ".join(repr(sign) for sign in list(dict.fromkeys(signs))[:3])
                self.trouble = f"numbers with {named} beside them, which are not read; remove the sign to predict the numbers"
            elif found and len(values) - len(found) <= max(1, FEW * len(values)):
                first = self.rows[kept[numbers.index(None)]]
                others = len(values) - len(found)
                are = "1 value is" if others == 1 else f"{others:,} values are"
                self.trouble = f"{are} no number among {len(found):,} numbers, first in {self.table.where(first)}"
            return None
        if written.other is not None:
            self.broken = "its commas may be decimal marks or separate thousands"
            return None
        self.rows, self.there, self.notation = [self.rows[i] for i in kept], values, written.best
        self.codes = are_codes(values) or (names_codes(self.name) and all(number.is_integer() for number in found))
        return None if self.codes else found

    def _as_labels(self) -> None:
        """Make strings of days, bytes and decimal numbers, which are labels, and of numbers and truth values beside strings."""
        simple = [value if isinstance(value, str | list | dict) else columns.label_of(value) for value in self.there]
        if None not in simple:
            strings = [value for value in simple if isinstance(value, str)]
            self.there = spelled_alike([*strings], keep_missing=True) if len(strings) == len(simple) else simple

    @property
    def free_text(self) -> bool:
        """Strings that are no numbers, that differ from row to row, and that are no ids: ids are ASCII without a blank."""
        if not self.strings or self.numbers is not None or self.codes or self.signed or self.named_as_id:
            return False
        running = sum(" " in value.strip() or not value.isascii() for value in self.there)
        return self.distinct > self.n / 2 and (running > self.n / 4 or self.name.lower() in TEXT_NAMES)

    @property
    def named_as_id(self) -> bool:
        return names_id(self.name)

    @property
    def why_id(self) -> str:
        """Why a column is taken for an id by its name; the rest of a sentence."""
        unnamed = names_nothing(self.name)
        return "it has no name in the header, as an index that was saved" if unnamed else "its name looks like that of an id"

    @property
    def label_like(self) -> bool:
        """Few enough different values, each twice or more on average."""
        return 2 <= self.distinct <= min(self.n / 2, MOST_LABELS) and self.length <= MOST_LABEL_LENGTH

    def describe_text(self) -> str:
        return f"strings of {self.length:,.0f} characters on average, {self.distinct:,} different in {self.n:,} rows"
