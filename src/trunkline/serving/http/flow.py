"""How much is read of a connection, and how long its client may leave an answer unread."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.flow_control import FlowControl

WRITE_SECONDS = 20.0  # in which a client has to read something of an answer that it has not read yet


class Flow(FlowControl):
    """uvicorn's, which reads on as soon as a route asks for more of its request; not while it is held.

    A client that reads nothing for WRITE_SECONDS while an answer waits to be written, or while the connection waits for that to
    be closed, is not waited for any longer: the connection is closed, and what was not written is lost.
    """

    _held = False
    _timer: asyncio.TimerHandle | None = None
    _lost = False

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(transport)
        self._loop = loop

    def pause_writing(self) -> None:
        super().pause_writing()
        self.watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self._transport.is_closing():
            self._stop()

    def watch(self) -> None:
        """See that what is written is read, until reading goes on or the connection is closed."""
        if self._timer is None and not self._lost and (left := self._transport.get_write_buffer_size()):
            self._timer = self._loop.call_later(WRITE_SECONDS, self._look, left)

    def lost(self) -> None:
        """The connection is closed."""
        self._lost = True
        self._stop()

    def _look(self, before: int) -> None:
        self._timer = None
        if self._transport.get_write_buffer_size() < before:
            self.watch()
        else:
            self._transport.abort()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def hold(self, held: bool) -> None:
        """Read no more, until it is told that there is no need for that any more."""
        if held:
            self.pause_reading()
            self._held = True
        elif self._held:
            self._held = False
            self.resume_reading()

    def resume_reading(self) -> None:
        """Read on, unless it is held."""
        if not self._held:
            super().resume_reading()
