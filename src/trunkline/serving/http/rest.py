"""What a client still sends of a request that has its answer: it is read away, within limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

REST_BYTES = 1 << 24  # that are read away: a client that still writes does not come to read its answer
REST_SECONDS = 10.0  # in which they have to be there


class Rest:
    """Counts what is read away, and calls `give_up` when that is too much or takes too long."""

    expected = False  # whether there is more to come
    _timer: asyncio.TimerHandle
    _left = REST_BYTES

    def __init__(self, loop: asyncio.AbstractEventLoop, give_up: Callable[[], None]) -> None:
        self._loop, self._give_up = loop, give_up

    def begin(self) -> None:
        """From now on."""
        if not self.expected:
            self.expected = True
            self._left = REST_BYTES
            self._timer = self._loop.call_later(REST_SECONDS, self._give_up)

    def came(self, size: int) -> None:
        """So many bytes have been read away."""
        self._left -= size
        if self._left < 0:
            self._give_up()

    def end(self) -> None:
        """There is no more to come."""
        if self.expected:
            self.expected = False
            self._timer.cancel()


class Answers:
    """A transport as uvicorn's cycles use it, but for how it is closed."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.write, self.is_closing, self.close = transport.write, transport.is_closing, close
