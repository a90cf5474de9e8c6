"""Texts that wait to be computed, and which of them make the next batch: the oldest one, with those most alike in length."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

WINDOW_BATCHES = 8  # texts of so many batches are sorted by length
LARGER = 2  # times the usual tokens that a batch may have while more than WINDOW_BATCHES of them wait


@dataclass(eq=False)
class Text(Generic[T]):
    """A text that waits: `length` tokens of its longest sequence, `tokens` of all of them; `kind`: what may share a batch."""

    what: T
    length: int
    tokens: int
    kind: Hashable = None
    since: float = field(default_factory=time.monotonic)


class Waiting(Generic[T]):
    """A queue of texts, from any number of threads to one that computes.

    Args:
        batch_tokens: padded tokens that a batch should not exceed; a longer text is a batch of its own. Where many texts wait,
            it is up to LARGER times as many: the threads that compute wait for the interpreter once an operation, and so
            less often for as many texts (benchmarks/LOG.md).
        delay: seconds that the oldest text may wait for others to fill its batch, while others are expected.
        keep: told of each text before it is put into a batch; False drops it.
    """

    def __init__(self, batch_tokens: int, delay: float, keep: Callable[[T], bool] = lambda text: True) -> None:
        self.batch_tokens, self.delay, self.keep = batch_tokens, delay, keep
        self._texts: deque[Text[T]] = deque()
        self._tokens = 0  # of these texts
        self._changed = threading.Condition()
        self._expected = 0
        self._closed = False

    def __len__(self) -> int:
        return len(self._texts)

    def expect(self, texts: int) -> None:
        """Say that so many texts more (or, below 0, fewer) are about to be put."""
        with self._changed:
            self._expected += texts
            self._changed.notify_all()

    def put(self, texts: list[Text[T]]) -> None:
        """Add texts, in order."""
        with self._changed:
            self._texts.extend(texts)
            self._tokens += sum(text.tokens for text in texts)
            self._changed.notify_all()

    def close(self) -> None:
        """`take` returns what there is, and then None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def take(self) -> tuple[list[T], int] | None:
        """Wait for texts, and return the next batch and how many tokens it may have; None once it is closed and empty."""
        with self._changed:
            while True:
                self._drop()
                if self._texts:
                    left = self._texts[0].since + self.delay - time.monotonic()
                    if self._closed or left <= 0 or not self._expected or self._full():
                        budget = self._budget()
                        return [text.what for text in self._batch(budget)], budget
                    self._changed.wait(left)
                elif self._closed:
                    return None
                else:
                    self._changed.wait()

    def _drop(self) -> None:
        """Without those that nobody waits for, as far as the next batch is chosen from."""
        while True:
            window = self._window(self._budget())
            kept = [text for text in window if self.keep(text.what)]
            if len(kept) == len(window):
                return
            self._put_back(window, kept)  # others come into the window then

    def _full(self) -> bool:
        tokens = 0
        for text in self._texts:
            tokens += text.tokens
            if tokens >= self.batch_tokens:
                return True
        return False

    def _budget(self) -> int:
        """Tokens that the next batch should not exceed."""
        return max(self.batch_tokens, min(self._tokens // WINDOW_BATCHES, LARGER * self.batch_tokens))

    def _window(self, batch_tokens: int) -> list[Text[T]]:
        """The oldest texts, of about WINDOW_BATCHES batches."""
        found: list[Text[T]] = []
        tokens = 0
        for text in self._texts:
            if found and tokens >= WINDOW_BATCHES * batch_tokens:
                break
            found.append(text)
            tokens += text.tokens
        return found

    def _put_back(self, window: list[Text[T]], kept: list[Text[T]]) -> None:
        """Replace the texts of the window, the first ones of the queue, by those that are kept."""
        for _ in window:
            self._tokens -= self._texts.popleft().tokens
        self._texts.extendleft(reversed(kept))
        self._tokens += sum(text.tokens for text in kept)

    def _batch(self, batch_tokens: int) -> list[Text[T]]:
        """Take out the next batch."""
        window = self._window(batch_tokens)
        chosen = set(map(id, next_batch(window, batch_tokens)))
        rest = [text for text in window if id(text) not in chosen]
        self._put_back(window, rest)
        return [text for text in window if id(text) in chosen]


def next_batch(window: list[Text[T]], batch_tokens: int) -> list[Text[T]]:
    """Return the batch that the first text of `window`, the oldest, is in, so that none waits longer than what came before it.

    Of the texts of its kind, sorted by length, it takes the next shorter or the next longer one by turns of which wastes
    less, as long as the padded batch (longest x texts) has not more than `batch_tokens`. A text in windows counts with all of
    its tokens.
    """
    oldest = window[0]
    alike = sorted((text for text in window if text.kind == oldest.kind), key=lambda text: text.length)
    place = next(number for number, text in enumerate(alike) if text is oldest)
    low = high = place  # the batch is alike[low : high + 1]
    extra = _extra(oldest)
    while True:
        down = alike[low - 1] if low > 0 else None
        up = alike[high + 1] if high + 1 < len(alike) else None
        longest, count = alike[high].length, high - low + 2
        fits_down = down is not None and longest * count + extra + _extra(down) <= batch_tokens
        fits_up = up is not None and up.length * count + extra + _extra(up) <= batch_tokens
        if not fits_down and not fits_up:
            return alike[low : high + 1]
        # padding that each would add: to the shorter one itself, or to all that are shorter than the longer one
        waste_down = longest - down.length if fits_down and down is not None else None
        waste_up = (up.length - longest) * (count - 1) if fits_up and up is not None else None
        if waste_up is None or (waste_down is not None and waste_down < waste_up):
            low -= 1
            extra += _extra(alike[low])
        else:
            high += 1
            extra += _extra(alike[high])


def _extra(text: Text[T]) -> int:
    """Tokens of a text beyond its longest sequence."""
    return text.tokens - text.length
