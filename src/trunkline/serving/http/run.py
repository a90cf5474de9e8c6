"""An app that answers requests, and its end."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

from trunkline.allocator import give_back_freed_memory
from trunkline.serving.admission import Admission
from trunkline.serving.engine import Engine
from trunkline.serving.http.listening import address_of
from trunkline.serving.http.open_files import raise_limit
from trunkline.serving.http.settings import Settings

log = logging.getLogger("trunkline.serving")

BACKLOG = 2048
IDLE = 5.0  # seconds without a request after which freed memory is given back
SWITCH = 0.001  # seconds after which a thread hands on the interpreter: the event loop waits for the engine's threads less long
COLLECTING = (10_000, 10, 10)  # objects that are new, and collections of the younger ones, before garbage is collected
CLOSING = 5.0  # seconds that connections are given to close once all requests are answered


def serve_engine(
    engine: Engine, settings: Settings, listening: socket.socket, started: Callable[[], None] = lambda: None
) -> None:
    """Answer requests until SIGTERM or SIGINT; then refuse new ones, answer those that are there, and return.

    Args:
        engine: closed by the caller.
        listening: of `bind`; it is closed.
        started: called once requests are taken.
    """
    import uvicorn

    from trunkline.serving.http.app import create_app
    from trunkline.serving.http.connection import Connection
    from trunkline.serving.http.ending import Ending

    raise_limit()
    app = create_app(engine, settings)

    service = app.state.service

    class Server(uvicorn.Server):
        ending: Ending
        tidying: asyncio.Task[None] | None = None  # held, as the loop holds its tasks weakly

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                facts = {"address": address_of(listening), "tasks": list(engine.branches)}
                log.info("requests are taken", extra={"facts": facts})
                self.tidying = asyncio.get_running_loop().create_task(give_back_when_idle(engine.admission))
                started()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            await self.ending.let_in_the_last()
            await super().shutdown(sockets)
            await self.ending.let_the_last_go()

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            loop = asyncio.get_running_loop()
            ending = self.ending = Ending(self, listening, service, settings.drain_seconds)

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
        http=partial(Connection, refused=app.outermost.refused, ending=lambda: service.stopping),  # type: ignore[arg-type]
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
        with few_collections():
            Server(config).run([listening])
    finally:
        sys.setswitchinterval(before)
        listening.close()


@contextmanager
def few_collections() -> Iterator[None]:
    """Within it, garbage is collected less often, and not looked for in what the libraries have made.

    A collection stops all threads: through everything for more than 0.1 s; and through the requests that wait, as often as by
    default, for three tenths of what the event loop does under overload (benchmarks/LOG.md).
    """
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTING)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        if not frozen:  # what somebody else has frozen cannot be told apart afterwards: it stays so
            gc.unfreeze()


async def give_back_when_idle(admission: Admission, seconds: float = IDLE) -> None:
    """Give freed memory back to the system whenever nobody has asked for some time: the C library keeps it otherwise, spread
    over a third of what the process holds (benchmarks/LOG.md).
    """
    before = given_back = admission.admitted
    while True:
        await asyncio.sleep(seconds)
        if admission.requests == 0 and admission.admitted == before != given_back:
            gc.collect()  # what is left of requests and connections, a few ms: nobody waits
            await asyncio.to_thread(give_back_freed_memory)
            given_back = before
        before = admission.admitted
