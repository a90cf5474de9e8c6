"""Chunks of rows made ready to be predicted, one ahead of the one that is being predicted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

from trunkline.data.chunks import Chunk
from trunkline.data.empty import EmptyTexts
from trunkline.data.table import Unread
from trunkline.model.bundle import Bundle
from trunkline.model.noticed import Noticed
from trunkline.model.prepared import Answer, Prepared, prepare
from trunkline.model.rows import Row


@dataclass(frozen=True)
class Options:
    """How rows are read and what is predicted for them.

    columns: the columns to read where they are not those that a branch was trained on, by role (`model.columns.roles`).
    scores: give the score of every label, not only of those chosen.
    empty_texts: whether a row without a text gets empty predictions, or is refused.
    min_confidence: from 0 to 1: what a branch is less confident of gets no answer (see `withheld` in model/decision.py).
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    scores: bool = False
    empty_texts: EmptyTexts = "skip"
    min_confidence: float | None = None


@dataclass(frozen=True)
class Ready:
    """A chunk that was read and prepared.

    size (int): rows of the source, with those that cannot be read.
    unread (tuple[Unread, ...]): those that are in no table.
    bad (list[Unread]): all that cannot be read, in order.
    read (str): the sha256 of what is asked.
    """

    size: int
    share: float | None
    unread: tuple[Unread, ...]
    bad: list[Unread]
    prepared: list[Prepared]
    read: str

    def rows(self, answers: list[Answer], without: Answer, words: bool, lf: bool) -> list[Row]:
        """The rows of the output; those of `unread` have no values, and the predictions `without`."""
        rows: list[Row] = []
        begin = 0
        for part in self.prepared:
            rows += part.rows(answers[begin : begin + part.size], words, lf)
            begin += part.size
        if not self.unread:
            return rows
        own = dict.fromkeys(rows[0].own) if rows else {}
        found: list[Row] = []
        begin = 0
        for one in self.unread:
            found += rows[begin : one.before]
            found.append(Row(dict(own), {name: dict(parts) for name, parts in without.items()}, error=str(one.error)))
            begin = one.before
        return found + rows[begin:]


def ready(bundle: Bundle, chunks: Iterable[Chunk], options: Options, noticed: Noticed) -> Iterator[Ready]:
    """Yield chunks as they are when prepared.

    Raises:
        BadInput: not a row of the first chunk of a source can be read, or what `prepare` raises.
    """
    for chunk in chunks:
        prepared: list[Prepared] = []
        if len(chunk.table):
            found = prepare(
                bundle, chunk.table, options.columns, empty_texts=options.empty_texts, noticed=noticed, tolerant=True
            )
            prepared = list(found)
        read = hashlib.sha256("".join(part.digest() for part in prepared).encode()).hexdigest()
        bad = _bad(chunk, prepared)
        if not noticed.begun and bad and len(bad) == len(chunk):
            raise bad[0].error
        noticed.begun = True
        yield Ready(len(chunk), chunk.share, chunk.table.unread, bad, prepared, read)


def _bad(chunk: Chunk, prepared: list[Prepared]) -> list[Unread]:
    """All rows of a chunk that cannot be read, in order."""
    bad, begin = list(chunk.table.unread), 0
    for part in prepared:
        bad += [one._replace(before=begin + one.before) for one in part.errors.values()]
        begin += part.size
    return sorted(bad, key=lambda one: one.before)


class Ahead:
    """Goes through items; a thread takes the next one while the caller works on one."""

    def __init__(self, items: Iterator[Ready], pool: ThreadPoolExecutor | None) -> None:
        self._items, self._pool = items, pool
        self._next: Future[Ready | None] | None = None

    def __iter__(self) -> Iterator[Ready]:
        if self._pool is None:
            yield from self._items
            return
        self._next = self._pool.submit(next, self._items, None)
        while (one := self._next.result()) is not None:
            self._next = self._pool.submit(next, self._items, None)
            yield one

    def more(self) -> bool:
        """Whether something comes behind the item at hand, or that is unknown."""
        return self._next is None or self._next.exception() is not None or self._next.result() is not None


@contextmanager
def ahead(items: Iterator[Ready], threaded: bool) -> Iterator[Ahead]:
    """Yield the items to go through, of which a thread takes the next one ahead if it is `threaded`."""
    with ThreadPoolExecutor(1, "trunkline-reading") if threaded else nullcontext() as pool:
        yield Ahead(items, pool)
