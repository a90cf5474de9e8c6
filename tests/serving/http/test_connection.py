"""What comes over one connection before any route sees it: pipelining, upgrades, trailers."""

from __future__ import annotations

import asyncio
import re
import resource

import pytest
import uvicorn
from uvicorn.server import ServerState

from trunkline.serving.http.connection import PIPELINED, Connection
from trunkline.serving.http.flow import WRITE_SECONDS
from trunkline.serving.http.head import HEAD_BYTES
from trunkline.serving.http.open_files import OpenFiles, raise_limit
from trunkline.serving.http.rest import REST_BYTES

HEAD = b"POST /%d HTTP/1.1\r\nHost: a\r\n"


class Transport(asyncio.Transport):
    """Keeps what is written, and whether there is reading."""

    def __init__(self):
        super().__init__()
        self.written, self.reading, self.closed, self.aborted = b"", True, False, False
        self.ended = False  # nothing more is written
        self.unread = 0  # bytes that wait to be written

    def write(self, data):
        assert not self.ended
        self.written += data

    def write_eof(self):
        self.ended = True

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


def talk(session, *, reads=True, refused=None, ending=lambda: False):
    """Run `session(connection, transport, asked, answer)` against an app that answers when `answer` is set; first it reads the
    body, unless it is not to. The statuses of what the connection refuses itself are added to `refused`.
    """
    asked = []

    async def main():
        answer = asyncio.Event()

        async def app(scope, receive, send):
            body = b""
            while reads and (message := await receive()).get("more_body"):
                body += message["body"]
            if reads and message["type"] == "http.disconnect":
                asked.append((scope["path"], scope["trunkline"]["status"], None))
                return
            asked.append((scope["path"], body + (message["body"] if reads else b""), [name for name, _ in scope["headers"]]))
            watching = asyncio.create_task(receive()) if reads else None  # as a route that waits for its client to go
            await answer.wait()
            if watching is not None:
                watching.cancel()
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body"})

        config = uvicorn.Config(app, ws="none", lifespan="off", log_config=None)
        config.load()
        count = lambda status, seconds: (refused if refused is not None else []).append(status)  # noqa: E731
        connection, transport = Connection(config, ServerState(), {}, refused=count, ending=ending), Transport()
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
        assert transport.ended and transport.written.count(b"HTTP/1.1 200") == PIPELINED + 1
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


def test_the_time_of_a_head_stops_while_requests_wait_and_starts_anew_once_there_is_reading():
    async def session(connection, transport, asked, answer):
        connection.data_received(HEAD % 0 + b"\r\n" + HEAD % 1 + b"\r\n" + HEAD % 2)
        await settle()
        assert not transport.reading and connection._head.timer is None
        answer.set()
        await settle()
        assert answers(transport) == [200, 200] and transport.reading
        assert connection._head.timer is not None and connection.timeout_keep_alive_task is None
        connection.data_received(b"\r\n")
        assert connection._head.timer is None
        await settle()
        assert answers(transport) == [200] * 3 and connection.timeout_keep_alive_task is not None
        answer.clear()
        connection.data_received(HEAD % 3 + b"\r\n" + HEAD % 4 + b"\r\nno http\r\n\r\n")
        answer.set()
        await settle()
        assert answers(transport) == [200] * 5 + [400] and connection._head.timer is None

    talk(session)


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
        assert transport.ended and re.search(rb"HTTP/1.1 431 .*expected at most so many", transport.written, re.S)

    asked = talk(session)
    assert asked[0] == ("/0", b"a", [b"host", b"transfer-encoding"]) and len(asked[1][1]) == 20_000


LATE = HEAD % 0 + b"Content-Length: 200000\r\n"
STATUS = re.compile(rb"HTTP/1.1 (\d+)")


def answers(transport):
    return [int(status) for status in STATUS.findall(transport.written)]


@pytest.mark.parametrize("closing", [False, True])
def test_the_rest_of_a_body_whose_request_has_its_answer_is_read_away(closing):
    async def session(connection, transport, asked, answer):
        answer.set()
        connection.data_received(LATE + (b"Connection: close\r\n" if closing else b"") + b"\r\n")
        await settle()
        assert answers(transport) == [200] and transport.ended == closing
        assert connection.timeout_keep_alive_task is None  # REST_SECONDS decides
        for _ in range(20):
            connection.data_received(b"a" * 10_000)
            await settle()
            assert connection._head.timer is None  # no head is waited for in the middle of a body
        assert (connection.timeout_keep_alive_task is None) == closing
        connection.data_received(HEAD % 1 + b"\r\n")
        await settle()
        assert answers(transport) == [200] * (1 if closing else 2) and not transport.closed and transport.reading
        assert connection._rest.expected == closing
        assert (connection.timeout_keep_alive_task is None) == closing
        connection.data_received(LATE + b"\r\n")
        await settle()
        assert not transport.closed
        connection._rest._timer._run()  # after REST_SECONDS
        assert transport.closed and len(answers(transport)) == (1 if closing else 3)

    assert len(talk(session, reads=False)) == (1 if closing else 3)

    async def endless(connection, transport, asked, answer):
        answer.set()
        connection.data_received(LATE.replace(b"200000", b"9" * 12) + (b"Connection: close\r\n" if closing else b"") + b"\r\n")
        await settle()
        for _ in range(REST_BYTES // 2_000_000):
            connection.data_received(b"a" * 2_000_000)
            assert not transport.closed
        connection.data_received(b"a" * 2_000_000)
        assert transport.closed and answers(transport) == [200]

    talk(endless, reads=False)


def test_a_client_that_asked_whether_to_send_its_body_is_told_that_the_connection_closes_where_it_is_not_read():
    expect = LATE + b"Expect: 100-continue\r\n\r\n"

    async def unread(connection, transport, asked, answer):
        answer.set()
        connection.data_received(expect)
        await settle()
        assert answers(transport) == [200] and b"connection: close" in transport.written and transport.ended

    talk(unread, reads=False)

    async def read(connection, transport, asked, answer):
        answer.set()
        for size in (200_000, 0):
            connection.data_received(expect.replace(b"200000", b"%d" % size).replace(b"\r\n\r\n", b" \t\r\n\r\n"))
            await settle()
            connection.data_received(b"a" * size)
            await settle()
        assert answers(transport) == [100, 200, 200] or answers(transport) == [100, 200, 100, 200]
        assert b"connection: close" not in transport.written and not transport.ended

    assert [len(body) for _, body, _ in talk(read)] == [200_000, 0]

    async def old(connection, transport, asked, answer):
        answer.set()
        connection.data_received(expect.replace(b"HTTP/1.1", b"HTTP/1.0") + b"a" * 200_000)
        await settle()
        assert answers(transport) == [200]

    talk(old)


BROKEN_BODY = HEAD % 1 + b"Transfer-Encoding: chunked\r\n\r\nno length\r\n"
UNASKED = HEAD % 1 + b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\nno length\r\n"


@pytest.mark.parametrize(
    ("then", "status", "alone"),
    [
        (b"no http\r\n\r\n", 400, [400]),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000, 431, [431]),
        (BROKEN_BODY, 400, []),
        (UNASKED, 400, []),
    ],
)
def test_what_is_no_request_is_refused_once_those_before_it_are_answered(then, status, alone):
    async def session(connection, transport, asked, answer):
        connection.data_received(HEAD % 0 + b"\r\n" + then[:1])
        connection.data_received(then[1:])
        await settle()
        assert answers(transport) == [] and not transport.ended
        answer.set()
        await settle()
        assert answers(transport) == [200, status] and transport.ended

    refused = []
    assert [path for path, _, _ in talk(session, refused=refused)] == ["/0"] and refused == [status]

    async def first(connection, transport, asked, answer):
        connection.data_received(then)
        await settle()
        assert answers(transport) == [status] and transport.ended
        connection.data_received(HEAD % 2 + b"\r\n")

    refused = []
    found = talk(first, refused=refused)
    assert refused == alone and found == ([] if alone else [("/1", status, None)])  # the app counts what it has seen


def test_what_is_broken_behind_an_answer_gets_no_other_one():
    async def session(connection, transport, asked, answer):
        answer.set()
        connection.data_received(BROKEN_BODY.partition(b"no length")[0])
        await settle()
        connection.data_received(b"no length\r\n")
        await settle()
        assert answers(transport) == [200] and transport.ended

    refused = []
    talk(session, reads=False, refused=refused)
    assert not refused


@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize("before", [b"", HEAD % 0 + b"Content-Length: 60000\r\n\r\n" + b"a" * 60_000])
def test_the_limit_of_a_head_does_not_depend_on_how_it_comes(before, pieces):
    def many(size):
        lines = b"".join(b"X-%04d: " % number + b"a" * 982 + b"\r\n" for number in range(64))  # 990 + 2 bytes each
        head = b"GET /1 HTTP/1.1\r\n" + lines
        return head + b"Y: " + b"a" * (size - len(head) - 7) + b"\r\n\r\n"

    def address(size):
        return b"GET /" + b"a" * (size - 18) + b" HTTP/1.1\r\n\r\n"

    for head, status in (
        (many(HEAD_BYTES), 200), (many(HEAD_BYTES + 1), 431), (address(HEAD_BYTES - 100), 200), (address(HEAD_BYTES + 1), 414),
        (address(HEAD_BYTES * 2), 414),
    ):  # fmt: skip

        async def session(connection, transport, asked, answer, head=head, status=status):
            answer.set()
            sent, size = before + head, -(-len(before + head) // pieces)
            for start in range(0, len(sent), size):
                connection.data_received(sent[start : start + size])
                await settle()
            assert answers(transport) == [200] * bool(before) + [status]

        talk(session)


def test_the_last_answer_says_so_and_what_was_pipelined_before_it_is_answered():
    async def session(connection, transport, asked, answer):
        connection.data_received(HEAD % 0 + b"\r\n" + HEAD % 1 + b"\r\n")
        await settle()
        connection.end_behind_answer()
        connection.data_received(HEAD % 2 + b"\r\n")  # too late: the answer before it says that the connection is closed
        answer.set()
        await settle()
        assert answers(transport) == [200, 200] and transport.ended
        assert transport.written.count(b"connection: close") == 1 and b"close" in transport.written.rpartition(b"HTTP/1.1")[2]

    assert [path for path, _, _ in talk(session)] == ["/0", "/1"]

    async def between(connection, transport, asked, answer):
        answer.set()
        connection.data_received(HEAD % 0 + b"\r\n")
        await settle()
        ends.append(True)
        connection.end_behind_answer()
        assert connection.idle and not transport.closed
        connection.data_received(HEAD % 1 + b"\r\n")
        await settle()
        assert answers(transport) == [200, 200] and transport.closed
        assert transport.written.count(b"connection: close") == 1

    ends = []
    talk(between, ending=lambda: bool(ends))


def test_a_connection_of_a_server_that_ends_is_closed_behind_an_answer_unless_nothing_has_come():
    async def idle(connection, transport, asked, answer):
        assert connection.idle
        connection.shutdown()
        assert transport.closed and not transport.written

    async def begun(connection, transport, asked, answer):
        answer.set()
        for data in (HEAD % 0 + b"\r\n" + HEAD % 1, b"X: b"):  # a request, and some of the next one
            connection.data_received(data)
            await settle()
        assert answers(transport) == [200] and not connection.idle
        connection.shutdown()
        assert answers(transport) == [200, 503] and transport.ended and not transport.closed

    async def running(connection, transport, asked, answer):
        connection.data_received(HEAD % 0 + b"\r\n")
        await settle()
        connection.shutdown()
        assert not connection.idle and not transport.written
        answer.set()
        await settle()
        assert answers(transport) == [200] and b"connection: close" in transport.written and transport.closed

    async def unread(connection, transport, asked, answer):
        answer.set()
        connection.data_received(LATE + b"\r\n")
        await settle()
        assert answers(transport) == [200] and not connection.idle and not transport.ended
        connection.shutdown()
        assert transport.ended and not transport.closed  # otherwise the client, which sends, loses its answer

    refused = []
    for session, reads in ((idle, True), (begun, True), (running, True), (unread, False)):
        talk(session, reads=reads, refused=refused)
    assert refused == [503]


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
