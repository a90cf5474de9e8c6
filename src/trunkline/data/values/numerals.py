"""Numbers written as text: which notation a column has (decimal comma, thousands separators), and what are codes instead.

Only ASCII digits count, and no spelling that only Python knows (``1_000``, ``infinity``). A notation is that of a whole column:
a comma in ``3,5`` is a decimal mark, in ``1,234,567`` it separates thousands, and ``1,234`` alone may be either.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

_PLAIN = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_BEGINS = re.compile(r"\s*[+\u2212-]?[.,]?[0-9]")
_CODE = re.compile(r"0[0-9]+|[0-9]+[eE][0-9]+|\+[0-9]{6,}")  # 007, 2E3, +491701234567
_SIGN = r"(?:%|‰|\u00b0[CF]?|(?:[A-Z]{2})?[$\u20ac\u00a3\u00a5\u20b9\u20a9\u20bd\u20bf]|USD|EUR|GBP|CHF|JPY|CNY|INR|KRW|kr)"
_SIGNED = re.compile(rf"\s*(?:[+-]?(?P<before>{_SIGN})\s*)?[+-]?[0-9][0-9.,' \u00a0\u202f]*?\s*(?P<after>{_SIGN})?\s*")
MINUS = "\u2212"  # the sign that typeset tables have, and spreadsheets for some languages
LONGEST_AMOUNT = 8  # digits: whole numbers that all have as many or more are telephone numbers, dates or keys


@dataclass(frozen=True)
class Notation:
    """How the numbers of a column are written: the decimal mark, and what separates groups of three digits, if anything."""

    decimal: str = "."
    thousands: str = ""

    def read(self, text: str) -> float | None:
        """Return the number that `text` spells in this notation, None if it spells none or one that is not finite."""
        text = text.strip().replace(MINUS, "-", 1)
        if self.thousands and self.thousands in text:
            grouped = rf"[+-]?[1-9][0-9]{{0,2}}(?:{re.escape(self.thousands)}[0-9]{{3}})+(?:{re.escape(self.decimal)}[0-9]*)?"
            if not re.fullmatch(grouped, text):
                return None
            text = text.replace(self.thousands, "")
        if self.decimal != ".":
            if "." in text:
                return None
            text = text.replace(self.decimal, ".")
        if not _PLAIN.fullmatch(text):
            return None
        number = float(text)
        return number if math.isfinite(number) else None

    @property
    def words(self) -> str:
        """How a sentence describes it."""
        mark = "a decimal comma" if self.decimal == "," else "a decimal point"
        return mark + (f" and {self.thousands!r} between thousands" if self.thousands else "")


PLAIN = Notation()
_OTHERS = [Notation(",")] + [
    Notation(mark, between) for mark in ".," for between in ",. '\u2019\u00a0\u202f" if mark != between
]


@dataclass(frozen=True)
class Notations:
    """The notation that reads most strings of a column, and one that reads all of them as other numbers, if there is one."""

    best: Notation
    other: Notation | None = None


def notation_of(texts: Sequence[str]) -> Notations:
    """Return the notation in which these strings are numbers; the plain one where it reads all, or where none reads more."""
    odd = [text for text in texts if PLAIN.read(text) is None]
    if not odd or 2 * sum(_BEGINS.match(text) is not None for text in texts) < len(texts):  # most are no numbers at all
        return Notations(PLAIN)
    fits = [one for one in _OTHERS if all(one.read(text) is not None for text in texts)]
    if not fits:
        return Notations(max([PLAIN, *_OTHERS], key=lambda one: sum(one.read(text) is not None for text in texts)))
    numbers = [[one.read(text) for text in odd] for one in fits]
    other = next((one for one, found in zip(fits, numbers, strict=True) if found != numbers[0]), None)
    return Notations(fits[0], other)


def sign_beside(text: str) -> str | None:
    """Return the percent sign, currency or other sign that stands before or after a number, None if `text` is no such thing."""
    found = _SIGNED.fullmatch(text)
    return None if found is None else found["before"] or found["after"]


def as_number(value: object) -> float | None:
    """Return a number, or a string that spells one plainly, as a finite float; None for anything else."""
    if isinstance(value, str):
        return PLAIN.read(value)
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def are_codes(values: Iterable[object]) -> bool:
    """Whether numbers are rather codes, which have no amount: leading zeros, ``2E3``, telephone numbers, long keys."""
    texts = []
    for value in values:
        texts.append(re.sub(r"\.0+$", "", str(value).strip()))  # 7.0: a data frame's 7 where another row lacks one
    if any("." in text or "," in text for text in texts):
        return False
    if any(_CODE.fullmatch(text) for text in texts):
        return True
    return len({len(text) for text in texts}) == 1 and len(texts[0]) >= LONGEST_AMOUNT and texts[0].isdigit()
