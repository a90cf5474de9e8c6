"""Clients of `http_server.py`: HTTP/1.1 over raw asyncio streams, so that the load costs little beside the server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

HEAD = "POST /v1/predict HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
LIVE = "GET /livez HTTP/1.1\r\nHost: {host}\r\n\r\n"


@dataclass
class Load:
    """What came back: by status, the seconds that each answer took."""

    seconds: dict[int, list[float]] = field(default_factory=dict)
    within: int = 0  # answered while requests were still being sent

    def add(self, status: int, took: float) -> None:
        self.seconds.setdefault(status, []).append(took)

    @property
    def answered(self) -> int:
        return len(self.seconds.get(200, []))


def prepared(host: str, bodies: Sequence[bytes]) -> list[bytes]:
    """Whole requests, to be written as they are."""
    return [HEAD.format(host=host, length=len(body)).encode() + body for body in bodies]


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> int:
    """Send a request and read its answer; return the status."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    await reader.readexactly(length)
    return int(head[9:12])


async def closed_loop(host: str, requests: Sequence[bytes], connections: int) -> Load:
    """Send all requests over so many connections, each of which sends the next one when it has an answer."""
    load, left = Load(), iter(requests)

    async def work() -> None:
        reader, writer = await asyncio.open_connection(*host.split(":"))
        for request in left:
            began = time.perf_counter()
            load.add(await ask(reader, writer, request), time.perf_counter() - began)
        writer.close()

    await asyncio.gather(*(work() for _ in range(connections)))
    return load


async def open_loop(host: str, requests: Sequence[bytes], rate: float, duration: float, each: Callable[[], None]) -> Load:
    """Send requests at `rate` a second for `duration` seconds, whether or not there are answers; `each` is called each second.

    A request takes a connection that is free, or a new one.
    """
    load, free, running = Load(), list[tuple[asyncio.StreamReader, asyncio.StreamWriter]](), set[asyncio.Task[None]]()

    async def one(request: bytes) -> None:
        began = time.perf_counter()
        while free:
            reader, writer = free.pop()
            try:
                status = await ask(reader, writer, request)
                break
            except (asyncio.IncompleteReadError, ConnectionError):  # the server had closed it, as nothing had come for long
                continue
        else:
            reader, writer = await asyncio.open_connection(*host.split(":"))
            status = await ask(reader, writer, request)
        load.add(status, time.perf_counter() - began)
        free.append((reader, writer))

    began, sent, second = time.perf_counter(), 0, 0
    while (now := time.perf_counter() - began) < duration:
        for number in range(sent, int(now * rate)):
            task = asyncio.create_task(one(requests[number % len(requests)]))
            running.add(task)
            task.add_done_callback(running.discard)
        sent = int(now * rate)
        if now >= second:
            each()
            second += 1
        await asyncio.sleep(0.002)
    load.within = load.answered
    await asyncio.gather(*running)
    return load


async def liveness(host: str, load: Load, until: asyncio.Event) -> None:
    """Ask for /livez ten times a second."""
    reader, writer = await asyncio.open_connection(*host.split(":"))
    while not until.is_set():
        began = time.perf_counter()
        load.add(await ask(reader, writer, LIVE.format(host=host).encode()), time.perf_counter() - began)
        await asyncio.sleep(0.1)
    writer.close()
