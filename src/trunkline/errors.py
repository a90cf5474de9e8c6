"""The two errors that Trunkline raises on purpose, and the sentence that names the nearest known word."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TrunklineError(Exception):
    """Work that failed for a reason worth one sentence (command-line exit code 1)."""


class BadInput(TrunklineError, ValueError):
    """Something the user gave cannot be used (exit code 2): one sentence of where, what was found, what was expected."""


def unknown_name(where: str, found: object, known: Iterable[str]) -> BadInput:
    """Return the error for a word that is not among the `known` ones; it names the nearest, or all if none is near.

    Args:
        where (str): file, key or column and what the word stands for, e.g. ``"run.yaml: method.name"``.
        found (object): the word that was given.
        known (Iterable[str]): the words that would have been right.
    """
    known = sorted(map(str, known))
    near = difflib.get_close_matches(str(found), known, n=3, cutoff=0.6)
    near.sort(key=lambda word: sorted(word) != sorted(str(found)))  # difflib thinks little of swapped letters
    hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known) or '(none)'}"
    return BadInput(f"{where}: unknown name {found!r}; {hint}")
