"""The two errors that Trunkline raises on purpose, and the sentence that names the nearest known word."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

LISTED = 30  # names that a message lists at most
_NAME = re.compile(r"[\w.:/+-]{1,40}", re.ASCII)


class TrunklineError(Exception):
    """Work that failed for a reason worth one sentence (command-line exit code 1)."""


class BadInput(TrunklineError, ValueError):
    """Something the user gave cannot be used (exit code 2): one sentence of where, what was found, what was expected."""


def shown(value: object) -> str:
    """Return a value of the user's data for a message: cut to its first characters if it is longer than a name, as it may be a
    text.
    """
    text = str(value)
    return repr(text if len(text) <= 12 or _NAME.fullmatch(text) else text[:8] + "...")


def listed(names: Sequence[object], most: int = LISTED, quoted: bool = True) -> str:
    """Return names for a message: the first few, each as `shown`, and how many there are in all."""
    few = [shown(name) if quoted else shown(name)[1:-1] for name in names[:most]]
    return ", ".join(few) + (f", ... ({len(names):,} in all)" if len(names) > most else "")


def unknown_name(where: str, found: object, known: Iterable[str]) -> BadInput:
    """Return the error for a word that is not among the `known` ones; it names the nearest, or the first few.

    Args:
        where (str): file, key or column and what the word stands for, e.g. ``"run.yaml: method.name"``.
        found (object): the word that was given.
        known (Iterable[str]): the words that would have been right.
    """
    known = sorted(map(str, known))
    near = difflib.get_close_matches(str(found), known, n=3, cutoff=0.6)
    near.sort(key=lambda word: sorted(word) != sorted(str(found)))  # difflib thinks little of swapped letters
    hint = f"did you mean {near[0]!r}?" if near else f"expected one of {listed(known, quoted=False) or '(none)'}"
    return BadInput(f"{where}: unknown name {found!r}; {hint}")
