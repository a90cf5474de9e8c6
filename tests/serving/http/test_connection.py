"""What comes over one connection before any route sees it: pipelining, upgrades, trailers."""

from __future__ import annotations

import asyncio
import re
import resource

import pytest
import uvicorn
from uvicorn.server import ServerState

from trunkline.serving.http.connection import PIPELINED, WRITE_SECONDS, Connection
from trunkline.serving.http.open_files import OpenFiles, raise_limit

HEAD = b"POST /%d HTTP/1.1\r\nHost: a\r\n"


class Transport(asyncio.Transport):
    """Keeps what is written, and whether there is reading."""

    def __init__(self):
        super().__init__()
        self.written, self.reading, self.closed, self.aborted = b"", True, False, False
        self.unread = 0  # bytes that wait to be written

    def write(self, data):
        self.written += data

    def close(self):
        self.closed = True

    def is_closing(self):
        return self.closed

    def abort(self):
        self.closed = self.aborted = True

    def get_write_buffer_size(self):
        return self.unread

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True


def talk(session):
    """Run `session(connection, transport, asked, answer)` against an app that answers when `answer` is set."""
    asked = []

    async def main():
        answer = asyncio.Event()

        async def app(scope, receive, send):
            body = b""
            while (message := await receive()).get("more_body"):
                body += message["body"]
            asked.append((scope["path"], body + message["body"], [name for name, _ in scope["headers"]]))
            watching = asyncio.create_task(receive())  # as a route that waits for its client to go: uvicorn reads on then
            await answer.wait()
            watching.cancel()
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body"})

        config = uvicorn.Config(app, ws="none", lifespan="off", log_config=None)
        config.load()
        connection, transport = Connection(config, ServerState(), {}), Transport()
        connection.connection_made(transport)
        try:
            await session(connection, transport, asked, answer)
        finally:
            connection.connection_lost(None)

    asyncio.run(main())
    return asked


async def settle():
    for _ in range(200):
        await asyncio.sleep(0)


def test_few_requests_may_wait_for_the_one_before_them():
    async def session(connection, transport, asked, answer):
        connection.data_received(b"".join(HEAD % number + b"\r\n" for number in range(1000)))
        await settle()
        assert len(asked) == 1 and not transport.reading and len(connection.pipeline) == PIPELINED
        connection.data_received(HEAD % 1000 + b"\r\n")
        assert len(connection.pipeline) == PIPELINED
        answer.set()
        await settle()
        assert transport.closed and transport.written.count(b"HTTP/1.1 200") == PIPELINED + 1
        assert transport.written.count(b"connection: close") == 1 and b" 400 " not in transport.written

    asked = talk(session)
    assert [path for path, _, _ in asked] == [f"/{number}" for number in range(PIPELINED + 1)]


def test_reading_goes_on_once_those_that_wait_are_being_answered():
    async def session(connection, transport, asked, answer):
        long = b"a" * 100_000
        connection.data_received(HEAD % 0 + b"\r\n" + HEAD % 1 + b"Content-Length: 100000\r\n\r\n")
        await settle()
        assert not transport.reading
        answer.set()
        await settle()
        assert transport.reading
        for start in range(0, len(long), 10_000):
            connection.data_received(long[start : start + 10_000])
            await settle()
        connection.data_received(HEAD % 2 + b"\r\n")
        await settle()
        assert not transport.closed

    assert [(path, len(body)) for path, body, _ in talk(session)] == [("/0", 0), ("/1", 100_000), ("/2", 0)]


def test_an_upgrade_is_ignored_and_the_body_is_no_other_request():
    inner = b"GET /inner HTTP/1.1\r\nHost: a\r\n\r\n"
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    framed = b"Content-Length: %d\r\n\r\n" % len(inner), inner
    chunked = b"Transfer-Encoding: chunked\r\n\r\n", b"%x\r\n%s\r\n0\r\n\r\n" % (len(inner), inner)

    async def session(connection, transport, asked, answer):
        answer.set()
        for number, (length, body) in enumerate((framed, chunked)):
            connection.data_received(HEAD % number + upgrade + length + body)  # at once
            await settle()
            connection.data_received(HEAD % number + upgrade + length)
            await settle()
            for start in range(len(body)):
                connection.data_received(body[start : start + 1])
                await settle()
        connection.data_received(HEAD % 2 + upgrade + b"\r\n" + HEAD % 3 + b"\r\n")
        await settle()
        assert not transport.closed and transport.written.count(b"HTTP/1.1 200") == 6

    found = [(path, body) for path, body, _ in talk(session)]
    assert found == [("/0", inner)] * 2 + [("/1", inner)] * 2 + [("/2", b""), ("/3", b"")]


def test_trailers_are_no_headers_and_have_the_limit_of_a_head():
    async def session(connection, transport, asked, answer):
        answer.set()
        connection.data_received(
            HEAD % 0 + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: b\r\nAuthorization: b\r\n\r\n"
        )
        await settle()
        connection.data_received(HEAD % 1 + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 20_000 + b"0\r\n\r\n")
        await settle()
        assert not transport.closed
        connection.data_received(HEAD % 2 + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n")
        for number in range(20):
            connection.data_received(b"X-%d: " % number + b"a" * 8000 + b"\r\n")
        assert transport.closed and re.search(rb"HTTP/1.1 431 .*expected at most so many", transport.written, re.S)

    asked = talk(session)
    assert asked[0] == ("/0", b"a", [b"host", b"transfer-encoding"]) and len(asked[1][1]) == 20_000


class Clock:
    """A loop whose timers run when they are told to."""

    def __init__(self):
        self.timers = []

    def call_later(self, seconds, call, *given):
        assert seconds == WRITE_SECONDS
        self.timers.append([call, given])
        return self

    def cancel(self):
        self.timers.clear()

    def ring(self):
        (call, given), self.timers[:] = self.timers[0], []
        call(*given)


@pytest.mark.parametrize("closing", [False, True])
def test_a_client_that_reads_nothing_of_its_answers_is_closed(closing):
    async def session(connection, transport, asked, answer):
        clock = connection.flow._loop = Clock()
        answer.set()
        connection.data_received(HEAD % 0 + (b"Connection: close\r\n" if closing else b"") + b"\r\n")
        transport.unread = 100_000
        if not closing:
            connection.pause_writing()
        await settle()
        assert bool(transport.written) is closing  # the next part waits for the client
        for _ in range(5):  # it reads, however slowly
            transport.unread -= 10
            clock.ring()
            assert not transport.aborted
        clock.ring()
        assert transport.aborted and not clock.timers

    talk(session)

    async def reads(connection, transport, asked, answer):
        clock = connection.flow._loop = Clock()
        transport.unread = 100_000
        connection.pause_writing()
        assert clock.timers
        transport.unread = 0
        connection.resume_writing()
        assert not clock.timers

    talk(reads)


def test_requests_of_a_client_that_goes_away_are_told_and_those_that_wait_are_dropped():
    async def session(connection, transport, asked, answer):
        connection.data_received(b"".join(HEAD % number + b"\r\n" for number in range(3)))
        await settle()
        assert len(asked) == 1 and len(connection.pipeline) == 2
        first = connection._running
        connection.connection_lost(None)
        assert first.disconnected and not connection.pipeline
        answer.set()
        await settle()
        assert len(asked) == 1 and transport.written == b""  # nothing is written to a connection that is closed

    talk(session)


def test_one_line_tells_that_nearly_all_files_are_open(monkeypatch, caplog):
    limits = [(100, 4096)]
    monkeypatch.setattr(resource, "getrlimit", lambda of: limits[0])
    monkeypatch.setattr(resource, "setrlimit", lambda of, to: limits.insert(0, to))
    files = OpenFiles()
    for number in (50, 91):
        files.opened(number)
    assert not caplog.messages
    for number in (92, 99, 98):
        files.opened(number)
    assert len(caplog.messages) == 1 and "of the 100 files" in caplog.messages[0]
    raise_limit()
    assert limits[0] == (4096, 4096)
    limits[:] = [(1024, resource.RLIM_INFINITY)]
    raise_limit()
    raise_limit()
    assert limits[0] == (65_536, resource.RLIM_INFINITY) and len(limits) == 2
