"""Rows in parts, and which part is the last: what was noted while reading is complete there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from trunkline.errors import BadInput

T = TypeVar("T")


def parts(rows: Iterable[T], size: int) -> Iterator[tuple[list[T], bool]]:
    """Yield lists of at most `size` rows, each with whether it is the last one.

    One row is read ahead to know it; what is wrong with that row is raised after the part before it was given out.
    """
    rows = iter(rows)
    ahead: list[T] = []
    while part := ahead + list(islice(rows, size - len(ahead))):
        try:
            ahead = list(islice(rows, 1))
        except BadInput:
            yield part, False
            raise
        yield part, not ahead
        if not ahead:
            return
