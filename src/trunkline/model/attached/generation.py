"""The texts of one generation, whose passes share a cache of keys and values."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from trunkline.errors import BadInput
from trunkline.model.attached.calls import length_of
from trunkline.model.attached.rows import Rows, begins_alike, plain_keys, unknown_rows
from trunkline.model.attached.seen import Seen


class Generation:
    """Texts whose passes share a cache of keys and values, of a stack of `blocks` blocks."""

    def __init__(self, seen: Seen, cache: Any, blocks: int) -> None:
        self.seen, self.cache, self.blocks = seen, weakref.ref(cache), blocks
        # What generate compiles (for such a cache) is not heard of: the cache alone tells that there was more.
        self._kept = cache if getattr(cache, "is_compileable", False) else None
        self._rows: Rows | None = None  # of several, as of the last pass
        self.ended = np.zeros(len(seen.real), bool)  # rows whose last token ends a text

    def verify(self) -> None:
        """BadInput if the cache has more tokens than were seen."""
        cache = self.cache()
        if cache is not None and (more := length_of(cache) - self.seen.length) > 0:
            raise BadInput(
                f"{more} tokens were put into the cache by passes that could not be read, such as those that generate compiles "
                "for a static cache; expected disable_compile=True in that case"
            )

    def copied(self, cache: Any, past: int) -> Generation | None:
        """The generation that continues here with a copy of its cache; None if that is no copy of its first tokens."""
        own = self.cache()
        if own is None or not begins_alike(cache, own, past, self.blocks):
            return None
        found = Generation(self.seen.copy(), cache, self.blocks)
        found.ended = self.ended.copy()
        return found

    def let_go(self) -> None:
        """Leave the cache to whoever else has it."""
        self._kept = None

    def remember(self) -> None:
        """Note what tells the rows of the cache from each other."""
        cache, length = self.cache(), self.seen.length
        if len(self.seen.real) == 1 or cache is None or plain_keys(cache, length, self.blocks) is None:
            self._rows = None
        elif self._rows is None:
            self._rows = Rows(cache, length, self.blocks)
        else:
            self._rows.add(cache, length)

    def follow(self, cache: Any, past: int, texts: int) -> None:
        """Bring what was seen to what the cache holds as the next pass begins.

        Raises:
            BadInput: rows that cannot be told from each other's, or tokens that cannot be taken back.
        """
        self.verify()
        if len(self.seen.real) == 1 and texts > 1:
            self._take(np.zeros(texts, np.int64))
        plain = plain_keys(cache, past, self.blocks) is not None
        if past != self.seen.length:
            self.seen.crop(past)
            self.ended[:] = False
            self._rows = None
        elif texts > 1 and not plain:
            raise unknown_rows(cache)
        elif self._rows is not None and plain:
            rows = self._rows.follow(cache, self.seen.alike)
            if not np.array_equal(rows, np.arange(len(self.seen.real))):
                self._take(rows)
        if texts != len(self.seen.real):
            held = len(self.seen.real)
            raise BadInput(f"a pass of {texts} texts continues with a cache of {held}, in an order that is not known")

    def _take(self, rows: np.ndarray) -> None:
        self.seen.take(rows)
        self.ended = self.ended[rows]
