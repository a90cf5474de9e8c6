"""The end of a server: whatever has reached it by then is answered before its connections are closed."""

from __future__ import annotations

import asyncio
import logging
import select
import socket
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from trunkline.serving.http.connection import Connection

if TYPE_CHECKING:
    import uvicorn

    from trunkline.serving.http.service import Service

log = logging.getLogger("trunkline.serving")

SILENT = 0.5  # seconds in which requests may still come over connections that there are, once nobody can make new ones
LAST = 1.0  # seconds in which clients that are told that their requests took too long to come are to read that
STEP = 0.02  # seconds between two looks


class Ending:
    """From a signal on: new requests are refused, and the server ends when the others are answered, or have had their time.

    Each answer from then on says that its connection is closed, so that clients that have more to ask do so elsewhere.

    Args:
        server: of uvicorn, with a `Connection` for each connection.
        listening: its socket.
        service: what is told that requests are refused.
        seconds: that requests have which are being answered.
    """

    def __init__(self, server: uvicorn.Server, listening: socket.socket, service: Service, seconds: float) -> None:
        self._server, self._listening, self._service, self._seconds = server, listening, service, seconds
        self._task: asyncio.Task[None] | None = None
        self.begun = False  # set by the first signal

    def begin(self) -> None:
        """Refuse new requests, and end once the others are answered; in the event loop."""
        admission = self._service.engine.admission
        log.info("told to end: new requests are refused", extra={"facts": {"requests": admission.requests}})
        self._service.stopping = True
        for connection in self._connections():
            connection.end_behind_answer()
        self._task = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        admission, loop = self._service.engine.admission, asyncio.get_running_loop()
        until = loop.time() + self._seconds
        while admission.requests and loop.time() < until:
            await asyncio.sleep(STEP)
        self._server.should_exit = True

    async def let_in_the_last(self) -> None:
        """Accept the connections that wait for that, listen no more, and read what comes over those that have no request.

        The system resets connections that wait to be accepted when their socket is closed, and those that are closed before
        all that has come over them is read.
        """
        loop = asyncio.get_running_loop()
        waiting = _accept(self._listening)
        for listener in self._server.servers:
            listener.close()
        self._listening.close()
        for accepted in waiting:
            with suppress(OSError):  # its client has gone
                await loop.connect_accepted_socket(self._protocol, accepted)
        until = loop.time() + SILENT
        while True:
            await asyncio.sleep(STEP)
            idle = [connection for connection in self._connections() if connection.idle]
            late = loop.time() - until
            if not idle or late > LAST or (late > 0 and not _readable(idle)):
                return

    async def let_the_last_go(self) -> None:
        """Wait for clients to read the last answers: those that were sent once requests had had their time to come."""
        loop = asyncio.get_running_loop()
        until = loop.time() + LAST
        while self._connections() and loop.time() < until:
            await asyncio.sleep(STEP)

    def _connections(self) -> list[Connection]:
        return cast(list[Connection], list(self._server.server_state.connections))

    def _protocol(self) -> asyncio.Protocol:
        """As uvicorn makes one for a connection that it accepts."""
        server = self._server
        return server.config.http_protocol_class(  # type: ignore[call-arg]
            config=server.config, server_state=server.server_state, app_state=server.lifespan.state
        )


def _accept(listening: socket.socket) -> list[socket.socket]:
    """All connections that wait to be accepted."""
    accepted = []
    with suppress(OSError):  # none is left, or there may be no more open files
        while True:
            one, _ = listening.accept()
            one.setblocking(False)
            accepted.append(one)
    return accepted


def _readable(connections: Iterable[Connection]) -> bool:
    """Whether something has come over one of them that has not been read."""
    poll = select.poll()
    for connection in connections:
        poll.register(connection.transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(poll.poll(0))
