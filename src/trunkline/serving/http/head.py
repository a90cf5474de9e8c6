"""How much has come of the head of a request (request line and headers), and since when: both have limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

HEAD_BYTES = 1 << 16
HEAD_SECONDS = 10.0


class Head:
    """Counts the bytes of a head, and calls `late` when it is not whole in time.

    Attributes:
        expected: whether what comes next is one, of a request that has not been answered.
        begun: whether there is something of it.
        bytes: in the chunks that came since it began, without the one in which another request ended.
        most: with that one, and with all of it.
    """

    expected = True
    begun = False
    bytes = most = 0
    timer: asyncio.TimerHandle | None = None
    _since = 0.0  # by the loop's clock, while there is a timer
    _chunk = 0  # bytes in the one that is being read

    def __init__(self, loop: asyncio.AbstractEventLoop, late: Callable[[], None]) -> None:
        self._loop, self._late = loop, late

    def came(self, size: int) -> None:
        """So many bytes have come."""
        self._chunk = size
        self.most += size
        if self.expected:
            self.bytes += size

    def begin(self) -> None:
        """Something of it is there."""
        self.expected = self.begun = True

    def end(self) -> None:
        """It is whole."""
        self.expected, self.begun, self.bytes, self.most = False, False, 0, self._chunk
        self.stop_waiting()

    def wait(self) -> None:
        """From now on it has HEAD_SECONDS, unless it is waited for already."""
        if self.timer is None:
            self._since = self._loop.time()
            self.timer = self._loop.call_later(HEAD_SECONDS, self._late)

    def stop_waiting(self) -> float:
        """Let it take its time; returns how long it has been waited for, in seconds."""
        if self.timer is None:
            return 0.0
        self.timer.cancel()
        self.timer = None
        return self._loop.time() - self._since


def size_of(method: bytes, url: bytes, headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Bytes of a head that has been read, with one blank where there may be more."""
    line = len(method) + len(url) + len("  HTTP/1.1\r\n")
    return line + sum(len(name) + len(value) + len(": \r\n") for name, value in headers) + len("\r\n")


def too_long(url: bytes) -> tuple[int, str]:
    """The status and the sentence with which a head is refused that has more than HEAD_BYTES."""
    found = f"the head of the request: found more than {HEAD_BYTES} bytes"
    if len(url) > HEAD_BYTES // 2:
        return 414, f"{found}, most of them its address, expected at most so many"
    return 431, f"{found}, expected at most so many"
