"""How many tokens may wait, and in how many seconds there will be room again."""

from __future__ import annotations

import threading

from trunkline.serving.request import Closed, Overloaded

TOKENS_A_CHARACTER = 0.3  # of English and most European languages, until texts have been counted
FORGETTING = 0.9  # share of an old estimate that stays with each new value
LONGEST_WAIT = 60.0  # seconds that a caller is told to wait, at most


class Admission:
    """Counts the tokens of all requests that are in the engine.

    Args:
        limit: tokens that may be in it.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.queued = 0
        self.requests = 0
        self._rate = 0.0  # tokens that leave in a second
        self._share = TOKENS_A_CHARACTER
        self._open = True
        self._changed = threading.Condition()

    def estimated(self, characters: int, texts: int) -> int:
        """Tokens of texts of so many characters that are read, special ones included."""
        return int(characters * self._share) + 2 * texts + 1

    def counted(self, characters: int, tokens: int) -> None:
        """Texts of so many characters have so many tokens."""
        if characters:
            self._share = FORGETTING * self._share + (1 - FORGETTING) * tokens / characters

    def enter(self, tokens: int) -> None:
        """Take up room for a request; a request alone may take up more than there is.

        Raises:
            Closed: no more requests are taken.
            Overloaded: there is no room.
        """
        with self._changed:
            if not self._open:
                raise Closed("the engine has been closed, and takes no more requests")
            if self.queued and self.queued + tokens > self.limit:
                raise Overloaded(self.seconds(self.queued + tokens - self.limit))
            self.queued += tokens
            self.requests += 1

    def refuse_if_full(self) -> None:
        """Raise Overloaded where there is no room for any request; what is cheap to know before one has been read."""
        if self.queued >= self.limit:
            raise Overloaded(self.seconds(self.queued - self.limit + 1))

    def leave(self, tokens: int) -> None:
        """Give back the room of a request that is done."""
        with self._changed:
            self.queued -= tokens
            self.requests -= 1
            self._changed.notify_all()

    def computed(self, tokens: int, seconds: float) -> None:
        """So many tokens were computed in so many seconds."""
        if seconds > 0:
            rate = tokens / seconds
            self._rate = rate if not self._rate else FORGETTING * self._rate + (1 - FORGETTING) * rate

    def seconds(self, tokens: int) -> float:
        """In how many seconds so many tokens will have been computed, from 0 to LONGEST_WAIT."""
        return min(LONGEST_WAIT, tokens / self._rate) if self._rate else 1.0

    def close(self, timeout: float | None) -> bool:
        """Let no more in, and wait until all have left; whether they have."""
        with self._changed:
            self._open = False
            return self._changed.wait_for(lambda: self.requests == 0, timeout)
