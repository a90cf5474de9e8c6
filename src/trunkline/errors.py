"""The two errors that Trunkline raises on purpose, and the sentence that names the nearest known word.

A sentence has up to four parts: `where` (a file and its line, an override), `key` (of a config or a described thing), what was
`found` there, and what was `expected`; or a `problem` in words of its own instead of the last two. What may be done about it is
kept apart: a `remedy`, and an `option` of the command that was called. Callers add what lower packages cannot know with `at`,
and replace an option that they do not have with `with_option`; no sentence is ever parsed again.
"""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Self

# Options of commands that train, and of `fit` where another command reads what it has left. A study has none of these.
TRAIN_AGAIN = "train again with --fresh (fresh=True in Python)"
FIT_AGAIN = "train again with `trunkline fit --fresh` (fresh=True in Python)"
LISTED = 30  # names that a message lists at most
LONGEST = 40  # characters of a config's value that a message shows: enough to find it again
LONGEST_NAME = 60  # characters of a name, such as the header of a column
_NAME = re.compile(r"[\w.:/+-]{1,40}", re.ASCII)


class TrunklineError(Exception):
    """Work that failed for a reason worth one sentence (command-line exit code 1).

    Args:
        problem (str): what is wrong, in words; with `found` and `expected` none is needed.
        where (str): the file, line, override or source.
        key (str): of a config or of a file's mapping, e.g. ``"method.layers"``.
        found (str): what was found, as it is to be shown (see `shown` and `literal`); with a problem it is shown by the key.
        expected (str): what would have been right.
        remedy (str): what may be done about it, whatever was called, e.g. ``"restore it"``.
        option (str): what may be done instead, or besides, with the command or function that was called, e.g. TRAIN_AGAIN.
    """

    def __init__(
        self,
        problem: str = "",
        *,
        where: str = "",
        key: str = "",
        found: str = "",
        expected: str = "",
        remedy: str = "",
        option: str = "",
    ) -> None:
        super().__init__(problem)
        self.problem, self.where, self.key, self.found, self.expected = problem, where, key, found, expected
        self.remedy, self.option = remedy, option

    def __str__(self) -> str:
        advice = ", or ".join(filter(None, (self.remedy, self.option)))
        return "; ".join(filter(None, (self._wrong(), advice)))

    def _wrong(self) -> str:
        if self.problem:
            opening, body = f"{self.key} {self.found}".strip(), self.problem
            body += f"; expected {self.expected}" if self.expected else ""
        else:
            parts = (f"found {self.found}" if self.found else "", f"expected {self.expected}" if self.expected else "")
            opening, body = self.key, ", ".join(filter(None, parts))
        return ": ".join(filter(None, (self.where, opening, body)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __copy__(self) -> Self:
        """Without its constructor, which may ask for other arguments."""
        made = type(self).__new__(type(self), *self.args)
        vars(made).update(vars(self))
        return made

    def at(self, where: str, key: str | None = None) -> Self:
        """Return the same error with its place: `where` if it does not say one itself, and `key` for its own if given."""
        placed = copy.copy(self)
        placed.where = self.where or where
        placed.key = self.key if key is None else key
        return placed

    def with_option(self, option: str) -> Self:
        """Return the same error with `option` in the place of its own; without one where it has none."""
        told = copy.copy(self)
        told.option = self.option and option
        return told


class BadInput(TrunklineError, ValueError):
    """Something the user gave cannot be used (exit code 2): one sentence of where, what was found, what was expected."""


def shown(value: object, whole: bool = False) -> str:
    """Return a value of the user's data for a message: cut to its first characters if it is longer than a name, as it may be a
    text.

    Args:
        whole: it is known to be a name, blanks or not (`Table.listable`, `may_name`): only a very long one is cut.
    """
    text = str(value)
    if whole:
        return repr(
            text if len(text) <= LONGEST_NAME else f"{text[:37]}...{text[-20:]}"
        )  # names often differ at their end alone
    return repr(text if len(text) <= 12 or _NAME.fullmatch(text) else text[:8] + "...")


def listed(names: Sequence[object], most: int = LISTED, quoted: bool = True, whole: bool = False) -> str:
    """Return names for a message: the first few, each as `shown`, and how many there are in all."""
    few = [shown(name, whole) if quoted else shown(name, whole)[1:-1] for name in names[:most]]
    return ", ".join(few) + (f", ... ({len(names):,} in all)" if len(names) > most else "")


def literal(value: object) -> str:
    """Return how a message shows a value of a config: the start of a long string, the kind of what has parts, one line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple, set, frozenset)):
        return "a list"
    if isinstance(value, int) and abs(value) >= 10**20:
        return "a number of more than 20 digits"
    if isinstance(value, str):
        return ascii_controls(repr(value if len(value) <= LONGEST else value[: LONGEST - 3] + "..."))
    text = repr(value)
    return text if len(text) <= LONGEST and text.isprintable() else f"a {type(value).__name__}"


def ascii_controls(text: str) -> str:
    """Return a text with what is no printable character escaped, lone surrogates included."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text)


def label_name(label: str) -> str:
    """Return how a table shows a label: as it is, in quotes where blanks at its ends or its emptiness would not be seen."""
    return repr(label) if not label or label != label.strip(" ") else ascii_controls(label)


def clipped(name: object) -> str:
    """Return how a message shows a key or a name from outside as it stands: one line, and not a long one."""
    text = str(name) if isinstance(name, str) else literal(name)
    return ascii_controls(text if len(text) <= LONGEST else text[: LONGEST - 3] + "...")


def unknown_name(where: str, found: object, known: Iterable[object], key: str = "", whole: bool = False) -> BadInput:
    """Return the error for a word that is not among the `known` ones; it names the nearest, or the first few.

    Args:
        where (str): file or column, and what the word stands for, e.g. ``"run.yaml: method.name"``.
        found (object): the word that was given.
        known (Iterable[str]): the words that would have been right.
        key (str): of a config; a caller knows its file.
        whole (bool): see `shown`.
    """
    known = sorted(map(str, known))
    word = found if isinstance(found, str) else literal(found)
    folded = {name.casefold(): name for name in reversed(known)}
    word = word[: 2 * LONGEST].casefold()
    near = [folded[one] for one in difflib.get_close_matches(word, folded, n=3, cutoff=0.6)]
    near.sort(key=lambda one: sorted(one.casefold()) != sorted(word))  # difflib thinks little of swapped letters
    hint = f"did you mean {near[0]!r}?" if near else f"expected one of {listed(known, quoted=False, whole=whole) or '(none)'}"
    return BadInput(f"unknown name {literal(found)}; {hint}", where=where, key=key)
