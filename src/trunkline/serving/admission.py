"""How many tokens may wait, and in how many seconds there will be room again."""

from __future__ import annotations

import threading

from trunkline.serving.request import Closed, Overloaded, Room

TOKENS_A_CHARACTER = 0.3  # of English and most European languages; what a request is counted with until it has been tokenised
TOKENS_A_BYTE = 0.35  # more, for each byte of UTF-8 beyond one a character: a CJK character, of three bytes, is about one token
FORGETTING = 0.9  # share of earlier measurements that stays with each new one
LONGEST_WAIT = 60.0  # seconds that a caller is told to wait, at most


def weight(text: str) -> int:
    """The characters of ASCII that have about as many tokens as `text`."""
    if text.isascii():
        return len(text)
    more = len(text.encode("utf-8", "surrogatepass")) - len(text)
    return len(text) + round(more * TOKENS_A_BYTE / TOKENS_A_CHARACTER)


class Admission:
    """Counts the tokens of all requests that are in the engine.

    Args:
        limit: tokens from which on the queue is full.
        workers: threads that compute at the same time.
    """

    def __init__(self, limit: int, workers: int = 1) -> None:
        self.limit, self.workers = limit, workers
        self.queued = 0
        self.requests = self.admitted = 0  # now, and in all
        self._tokens = self._computing = self._decoding = 0.0  # what was done, and the seconds of each; earlier counts less
        self._open = True
        self._changed = threading.Condition()

    @staticmethod
    def estimated(characters: int, texts: int) -> int:
        """Tokens of texts with so many characters that are read, as `weight` counts them, as far as can be said unseen."""
        return int(characters * TOKENS_A_CHARACTER) + 2 * texts + 1

    def enter(self, tokens: int) -> Room:
        """Take up room for a request, however large: a large one would otherwise be refused as long as small ones come.

        Raises:
            Closed: no more requests are taken.
            Overloaded: the queue is full.
        """
        with self._changed:
            if not self._open:
                raise Closed("the engine has been closed, and takes no more requests")
            self.refuse_if_full()
            self.queued += tokens
            self.requests += 1
            self.admitted += 1
            return Room(tokens)

    def counted(self, room: Room, tokens: int) -> None:
        """A request has so many tokens, as is known once it has been tokenised."""
        with self._changed:
            if room.taken:
                self.queued += tokens - room.tokens
                room.tokens = tokens

    def refuse_if_full(self) -> None:
        """Raise Overloaded where there is no room for a request; what can be known before one has been read."""
        if self.queued >= self.limit:
            raise Overloaded(self.seconds(self.queued - self.limit + 1))

    def leave(self, room: Room) -> None:
        """Give back the room of a request that is done."""
        with self._changed:
            if room.taken:
                room.taken = False
                self.queued -= room.tokens
                self.requests -= 1
                self._changed.notify_all()

    def computed(self, tokens: int, seconds: float) -> None:
        """The trunk and the branches have read so many tokens in so many seconds."""
        with self._changed:
            self._tokens = FORGETTING * self._tokens + tokens
            self._computing = FORGETTING * self._computing + seconds
            self._decoding *= FORGETTING

    def decoded(self, seconds: float) -> None:
        """Decoding has taken so many seconds."""
        with self._changed:
            self._decoding += seconds

    def seconds(self, tokens: int) -> float:
        """In how many seconds so many tokens will have been answered, from 0 to LONGEST_WAIT."""
        busy = max(self._computing / self.workers, self._decoding)  # one goes on beside the other
        return min(LONGEST_WAIT, tokens * busy / self._tokens) if self._tokens else 1.0

    def close(self, timeout: float | None) -> bool:
        """Let no more in, and wait until all have left; whether they have."""
        with self._changed:
            self._open = False
            return self._changed.wait_for(lambda: self.requests == 0, timeout)
