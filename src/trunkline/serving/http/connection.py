"""One connection: uvicorn's, with limits on what a client may send before it is read and on how long it may leave an answer
unread, and without other protocols.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from trunkline.serving.http.open_files import OpenFiles

HEAD_BYTES = 1 << 16
HEAD_SECONDS = 10.0
WRITE_SECONDS = 20.0  # in which a client has to read something of an answer that it has not read yet
PIPELINED = 16  # requests that may wait for the answer of the one before them
FILES = OpenFiles()
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


class Connection(HttpToolsProtocol):
    """Closes a connection that sends no whole head (request line and headers) in time, or one that is too long, and one that
    does not read its answers.

    While requests wait for the answer of the one before them (pipelining), no more is read. The last of PIPELINED that wait
    is answered with `Connection: close`, and what came after it is not looked at, as RFC 9112 section 9.3.2 has clients expect.
    """

    flow: Flow
    _running: RequestResponseCycle | None = None  # that is being answered; uvicorn's `cycle` is the last one that came
    _head_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = True  # of a request that has not been answered
    _in_body = False  # as the parser sees it; with the trailers of a chunked body
    _other_bytes = 0  # read since the last ones of a body: sizes of chunks and trailers
    _closed = False  # nothing that comes is looked at any more
    _reframing = False  # the parser reads a head of ours, by which it finds the body of a request that asked for an upgrade

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.flow = Flow(transport, self.loop)
        if (connected := transport.get_extra_info("socket")) is not None:
            FILES.opened(connected.fileno())
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self.flow.lost()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._closed:
            return
        self._unset_keepalive_if_required()
        if self._in_head:
            self._head_bytes += len(data)
        if self._in_body:
            self._other_bytes += len(data)
        self._feed(data)
        if self._closed or self.transport.is_closing():
            return
        if self._other_bytes > HEAD_BYTES:
            self._too_long()
        elif not self._in_head:
            return
        elif self._head_bytes > HEAD_BYTES:
            self._too_long()
        else:
            self._wait_for_head()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            if not self._closed:
                self._refuse(400, "the request is no valid HTTP")

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Go on with the same protocol, as a server may (RFC 9110 section 7.8): the parser stops behind the head, and would
        take the body for another request, so that a new one is told how long the body is.
        """
        framing = [name + b": " + value for name, value in self.headers if name in _FRAMING]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
        self._reframing = True
        self._feed(b"\r\n".join([b"POST / HTTP/1.1", *framing, b"", b""]) + rest)

    def on_message_begin(self) -> None:
        if self._reframing:
            return
        super().on_message_begin()
        self._in_head = True

    def on_url(self, url: bytes) -> None:
        if not self._reframing:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._reframing and not self._in_body:  # trailers are no headers
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._reframing:
            self._reframing = False
            return
        if len(self.pipeline) >= PIPELINED:
            self._closed = True
            self.cycle.keep_alive = False
            raise OverflowError  # the parser stops
        self._in_head, self._head_bytes = False, 0
        self._in_body, self._other_bytes = True, 0
        self._stop_waiting()
        super().on_headers_complete()
        self.flow.hold(bool(self.pipeline))

    def on_body(self, body: bytes) -> None:
        self._other_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():  # the end of the head: the body is still to be read
            return
        self._in_body, self._other_bytes = False, 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        waiting = bool(self.pipeline)
        super().on_response_complete()
        if self.transport.is_closing():
            self.flow.watch()
        if not waiting:
            self._in_head = True  # of the next request, if there comes one; uvicorn closes the connection where none does
        if not self.transport.is_closing():
            self.flow.hold(bool(self.pipeline))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self.flow.watch()

    def shutdown(self) -> None:
        super().shutdown()
        if self.transport.is_closing():
            self.flow.watch()

    def _wait_for_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._too_late)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_late(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self._refuse(408, f"the head of the request was not there within {HEAD_SECONDS:g} s")

    def _too_long(self) -> None:
        self._refuse(431, f"the head of the request: found more than {HEAD_BYTES} bytes, expected at most so many")

    def _refuse(self, status: int, sentence: str) -> None:
        self._closed = True
        kinds = {400: "bad_input", 408: "timeout", 431: "too_large"}
        body = json.dumps({"error": sentence, "error_type": kinds[status]}).encode()
        reason = {400: "Bad Request", 408: "Request Timeout", 431: "Request Header Fields Too Large"}[status]
        head = (
            f"HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
        self.flow.watch()


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
