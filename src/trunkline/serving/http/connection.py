"""One connection: uvicorn's, with limits on what a client may send before it is read and on how long it may leave an answer
unread, with the rest of a body read away that is refused before it is there, and without other protocols.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from trunkline.serving.http.errors import raw_refusal, stopping
from trunkline.serving.http.flow import Flow
from trunkline.serving.http.head import HEAD_BYTES, HEAD_SECONDS, Head, size_of, too_long
from trunkline.serving.http.open_files import OpenFiles
from trunkline.serving.http.rest import Answers, Rest

PIPELINED = 16  # requests that may wait for the answer of the one before them
FILES = OpenFiles()
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


class Connection(HttpToolsProtocol):
    """Closes a connection that sends no whole head (request line and headers) in time, or one that is too long, and one that
    does not read its answers.

    While requests wait for the answer of the one before them (pipelining), no more is read. The last of PIPELINED that wait
    is answered with `Connection: close`, and what came after it is not looked at, as RFC 9112 section 9.3.2 has clients expect.

    An answer may be there before the body of its request. The rest of the body is then read away (`Rest`) before the next
    request, or before the connection is closed (RFC 9112 section 9.6): otherwise the system would reset it, and the client lose
    the answer.

    A client that closes only its sending half is taken for one that has gone, as the two look alike until something is written.

    Args:
        refused: is told the status of each request that is refused here, and the seconds that it took.
        ending: whether the server ends: the next answer is the last one of its connection then.
        given, named: as uvicorn's.
    """

    flow: Flow
    url = b""
    _running: RequestResponseCycle | None = None  # that is being answered; uvicorn's `cycle` is the last one that came
    _in_body = False  # as the parser sees it; with the trailers of a chunked body
    _other_bytes = 0  # read since the last ones of a body: sizes of chunks and trailers
    _unsure = False  # the client may send the body or not, as it is to be told to (Expect: 100-continue)
    _refusal: tuple[int, str, float] | None = None  # that is told once the requests before it are answered
    _closed = False  # nothing that comes is looked at any more
    _reframing = False  # the parser reads a head of ours, by which it finds the body of a request that asked for an upgrade

    def __init__(
        self,
        *given: Any,
        refused: Callable[[int, float], None] = lambda status, seconds: None,
        ending: Callable[[], bool] = lambda: False,
        **named: Any,
    ) -> None:
        super().__init__(*given, **named)
        self._refused, self._ending = refused, ending

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.flow = Flow(transport, self.loop)
        self._answers, self._rest = Answers(transport, self._close), Rest(self.loop, self._give_up)
        self._head = Head(self.loop, self._too_late)
        if (connected := transport.get_extra_info("socket")) is not None:
            FILES.opened(connected.fileno())
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head.stop_waiting()
        self._rest.end()
        self._refusal = None
        self.flow.lost()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        size = len(data)
        if unread := self._closed or self._rest.expected:
            self._rest.came(size)
            if self._closed:
                return
        self._unset_keepalive_if_required()
        self._head.came(size)
        if self._in_body:
            self._other_bytes += size
        self._feed(data)
        if self._closed or self.transport.is_closing():
            return
        if self._other_bytes > HEAD_BYTES or self._head.bytes > HEAD_BYTES:
            self._too_long()
        elif self._head.expected:
            self._wait_for_head()
        elif unread and not self._in_body and self.cycle.response_complete:  # as uvicorn does behind an answer
            self._head.expected = True
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

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
        self._head.begin()

    def on_url(self, url: bytes) -> None:
        if not self._reframing:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._reframing and not self._in_body:  # trailers are no headers
            super().on_header(name, value.rstrip(b" \t"))  # the parser leaves blanks there (RFC 9110 section 5.5)

    def on_headers_complete(self) -> None:
        if self._reframing:
            self._reframing = False
            return
        if self._head.most > HEAD_BYTES and size_of(self.parser.get_method(), self.url, self.headers) > HEAD_BYTES:
            self._too_long()
            raise OverflowError  # the parser stops
        if len(self.pipeline) >= PIPELINED:
            self._closed = True
            self.cycle.keep_alive = False
            raise OverflowError
        if self.parser.get_http_version() < "1.1":
            self.expect_100_continue = False  # RFC 9110 section 10.1.1
        super().on_headers_complete()
        self.cycle.transport = self._answers  # type: ignore[assignment]
        self._head.end()
        self._in_body, self._other_bytes = True, 0
        self.flow.hold(bool(self.pipeline))
        if self._ending():
            self.cycle.keep_alive = False
        if self.expect_100_continue and self.cycle.keep_alive:  # nobody knows where a next request would begin
            self._unsure, self.cycle.keep_alive = True, False

    def on_body(self, body: bytes) -> None:
        self._other_bytes = 0
        if self._unsure:
            self._be_sure()
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():  # the end of the head: the body is still to be read
            return
        self._in_body, self._other_bytes = False, 0
        if self._unsure:
            self._be_sure()
        if self._rest.expected:
            self._rest.end()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self._rest.expected:  # the connection is closed behind this answer
            self.server_state.total_requests += 1
            return
        waiting = bool(self.pipeline)
        super().on_response_complete()
        if self.transport.is_closing():
            self.flow.watch()
            return
        self.flow.hold(bool(self.pipeline))
        if self._in_body or self._head.expected:
            self._unset_keepalive_if_required()  # the time of a rest or of a head decides
        if waiting:
            if self._head.expected:
                self._wait_for_head()
        elif self._refusal is not None:
            self._tell(*self._refusal)
        elif self._in_body:
            self._rest.begin()
        else:
            self._head.expected = True  # of the next request, if there comes one; uvicorn closes the connection where none does

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self.flow.watch()

    @property
    def idle(self) -> bool:
        """Whether there is nothing of a request that is to be answered or read."""
        answered = self.cycle is None or self.cycle.response_complete
        return answered and not (self._head.begun or self._rest.expected or self.transport.is_closing())

    def end_behind_answer(self) -> None:
        """Close the connection behind the answer to the last request that there is, which is told so."""
        if self.cycle is not None and not self.cycle.response_started:
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """Close the connection, behind the answer if there is a request; one that has begun to come is refused."""
        if self.idle:
            self.transport.close()
            self.flow.watch()
        elif self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
        elif not self._closed:
            if self._head.begun:
                self._refuse(503, str(stopping()))
            else:
                self._close()

    def _be_sure(self) -> None:
        """The client sends the body that it asked about."""
        self._unsure = False
        if not self.cycle.response_started and not self._ending():
            self.cycle.keep_alive = True

    def _wait_for_head(self) -> None:
        if not self._closed and not self.pipeline:  # there is no reading while requests wait
            self._head.wait()

    def _too_late(self) -> None:
        if not self.transport.is_closing():
            self._refuse(408, f"the head of the request was not there within {HEAD_SECONDS:g} s")

    def _too_long(self) -> None:
        self._refuse(*too_long(b"" if self._in_body else self.url))

    def _refuse(self, status: int, sentence: str) -> None:
        """Refuse what cannot be read on, and close the connection. Answers stay in the order of their requests."""
        self._closed = True
        seconds = self._head.stop_waiting()
        if self._in_body and self.pipeline:  # nobody has been asked yet
            self.pipeline.popleft()
        elif self._in_body:
            self._refuse_running(status, sentence)
            return
        if self._running is not None and not self._running.response_complete:
            self._refusal = status, sentence, seconds
        else:
            self._tell(status, sentence, seconds)

    def _refuse_running(self, status: int, sentence: str) -> None:
        """Refuse a request that the app has seen, and counts; one that has its answer gets no other one."""
        if self.cycle.response_complete:
            self._close()
        elif self.cycle.response_started:
            self.cycle.keep_alive = False
        else:
            self.cycle.scope.setdefault("trunkline", {})["status"] = status  # type: ignore[typeddict-item]
            self.cycle.disconnected = True
            self.cycle.waiting_for_100_continue = False
            self.cycle.message_event.set()
            self._write(status, sentence)

    def _tell(self, status: int, sentence: str, seconds: float) -> None:
        if self._running is not None or self._head.bytes:  # a connection without a byte is no request
            self._refused(status, seconds)
        self._write(status, sentence)

    def _write(self, status: int, sentence: str) -> None:
        self.transport.write(raw_refusal(status, sentence))
        self._close()

    def _close(self) -> None:
        """Close the connection behind an answer; where its client may still be sending, once it has ended that."""
        sending = self._in_body or self._head.expected or self._closed or bool(self.pipeline)
        self._closed = True
        self.pipeline.clear()
        if not sending:
            self.transport.close()
            self.flow.watch()
        if self.transport.is_closing():
            return
        self._head.stop_waiting()
        self._unset_keepalive_if_required()
        self.flow.hold(False)
        self.flow.resume_reading()
        self.transport.write_eof()
        self._rest.begin()

    def _give_up(self) -> None:
        """Read no more, however much there is to come."""
        self._closed = True
        self._rest.end()
        self.transport.close()
        self.flow.watch()
