"""An app that listens: its address, and its end."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import TYPE_CHECKING

from trunkline.errors import BadInput
from trunkline.serving.engine import Engine
from trunkline.serving.http.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

BACKLOG = 2048
SWITCH = 0.001  # seconds after which a thread hands on the interpreter: the event loop waits for the engine's threads less long
CLOSING = 5.0  # seconds that connections are given to close once all requests are answered
MODULES = ("fastapi", "uvicorn", "httptools", "uvloop", "prometheus_client", "python_multipart")


def check_installed() -> None:
    """BadInput where the extra `serve` is not installed."""
    from importlib.util import find_spec

    missing = [name for name in MODULES if find_spec(name) is None]
    if missing:
        raise BadInput(f"serving needs the package {missing[0]}, which is not installed; pip install 'trunkline[serve]'")


def bind(host: str, port: int) -> socket.socket:
    """A socket for an address, which listens once requests are taken; BadInput where the address is not there or is in use."""
    where = f"{host} port {port}"
    if not 0 <= port <= 65535:
        raise BadInput(f"{where}: no such port, expected one from 0 to 65535")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:
        raise BadInput(f"{where}: no address to listen on ({getattr(error, 'strerror', None) or error})") from None
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind(address)
    except OSError as error:
        made.close()
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise BadInput(f"{where}: in use by another program; --port names another one, 0 takes any that is free") from None
        raise BadInput(f"{where}: cannot be listened on ({getattr(error, 'strerror', None) or error})") from None
    made.setblocking(False)
    return made


def is_loopback(listening: socket.socket) -> bool:
    """Whether only this machine reaches it."""
    return ipaddress.ip_address(listening.getsockname()[0].partition("%")[0]).is_loopback


def address_of(listening: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def with_hosts(settings: Settings, listening: socket.socket, host: str) -> Settings:
    """Settings that let in only requests for a name of this machine, where it listens on loopback."""
    if not is_loopback(listening):
        return settings
    return replace(settings, hosts=frozenset({host.lower(), "localhost", "127.0.0.1", "[::1]", listening.getsockname()[0]}))


def serve(engine: Engine, settings: Settings, listening: socket.socket, started: Callable[[], None] = lambda: None) -> None:
    """Answer requests until SIGTERM or SIGINT; then refuse new ones, answer those that are there, and return.

    Args:
        engine: closed by the caller.
        listening: of `bind`; it is closed.
        started: called once requests are taken.
    """
    import uvicorn

    from trunkline.serving.http.app import create_app
    from trunkline.serving.http.connection import Connection

    app = create_app(engine, settings)

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                started()

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            loop = asyncio.get_running_loop()
            ending = Ending(self, app, settings.drain_seconds)

            def handle(number: int, frame: FrameType | None) -> None:
                if ending.begun:  # the engine's threads may be in the middle of a batch: nothing waits for them
                    listening.close()
                    os._exit(128 + number)
                ending.begun = True
                loop.call_soon_threadsafe(ending.begin)

            before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
            try:
                yield
            finally:
                for number, was in before.items():
                    signal.signal(number, was)

    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        backlog=BACKLOG,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=int(CLOSING),
    )
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH)
    try:
        Server(config).run([listening])
    finally:
        sys.setswitchinterval(before)
        listening.close()


class Ending:
    """The end of a server: it refuses new requests, and ends when those that are there are answered, or have had their time."""

    def __init__(self, server: object, app: FastAPI, seconds: float) -> None:
        self._server, self._app, self._seconds = server, app, seconds
        self._task: asyncio.Task[None] | None = None
        self.begun = False  # set by the first signal

    def begin(self) -> None:
        """Refuse new requests, and end once the others are answered; in the event loop."""
        self._app.state.service.stopping = True
        self._task = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        admission = self._app.state.service.engine.admission
        until = asyncio.get_running_loop().time() + self._seconds
        while admission.requests and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.02)
        self._server.should_exit = True  # type: ignore[attr-defined]
