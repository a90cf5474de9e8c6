"""What the routes share: the engine behind its limits, and whether requests are taken."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from starlette.requests import Request as HttpRequest

from trunkline.errors import BadInput
from trunkline.model.branch import Branch
from trunkline.serving.admission import weight
from trunkline.serving.engine import Engine
from trunkline.serving.http.bodies import off_loop
from trunkline.serving.http.errors import Gone, Refused, stopping
from trunkline.serving.http.metrics import Metrics
from trunkline.serving.http.naming import Naming
from trunkline.serving.http.settings import Settings
from trunkline.serving.request import Answer, Expired, Request

PARSING = 2  # large bodies that are parsed at a time: as objects they take many times their bytes
SOON = 0.02  # seconds that an answer is waited for before the connection is watched, too


class Service:
    """The engine of an app, with its settings and metrics.

    Attributes:
        stopping: set once the server is about to end; predictions are refused from then on.
        changing: held while the branches are changed.
        parsing: held while a large body is parsed.
    """

    def __init__(self, engine: Engine, settings: Settings, metrics: Metrics) -> None:
        self.engine, self.settings, self.metrics = engine, settings, metrics
        self.stopping = False
        self.changing = asyncio.Lock()
        self.parsing = asyncio.Semaphore(PARSING)

    @property
    def ready(self) -> bool:
        """Whether requests are taken."""
        return self.engine.alive and not self.stopping

    def refuse_early(self) -> None:
        """Raise, before a body is read, where its request could only be refused.

        Raises:
            Refused: the server is about to end.
            Overloaded: the queue is full.
        """
        if self.stopping:
            raise stopping()
        self.engine.admission.refuse_if_full()

    def check(self, request: Request, naming: Naming) -> None:
        """Raise Refused where a request is larger than the limits, BadInput where it has more units than characters; the
        sentence calls texts as `naming` does.
        """
        limits = self.settings
        texts, pairs = request.texts, request.pairs or ()
        if (count := len(texts)) > limits.texts:
            raise Refused(413, "too_large", f"{naming('texts', None)}: found {count}, expected at most {limits.texts}")
        for number, (text, units) in enumerate(zip(texts, request.units or (), strict=False)):
            if isinstance(text, str) and len(units) > len(text):
                raise BadInput(
                    f"{naming('units', number)}: found {len(units)}, expected at most {len(text)}, one for each character"
                )
        read, plan = 0, self.engine.bundle.plan
        for what, some in (("texts", texts), ("pairs", pairs)):
            for number, text in enumerate(some):
                size = len(text) if isinstance(text, str) else sum(map(len, text)) + len(text)
                if size > limits.characters:
                    where = naming(what, number)
                    raise Refused(413, "too_large", f"{where}: found {size} characters, expected at most {limits.characters}")
                if not isinstance(text, str):
                    read += sum(map(weight, text)) + len(text)
                else:
                    read += weight(text[: plan.weight(text)] if what == "texts" else text)  # second texts count whole
        if (tokens := self.engine.admission.estimated(read, count)) > limits.tokens:
            where = naming("texts", None)
            raise Refused(413, "too_large", f"{where}: found about {tokens} tokens, expected at most {limits.tokens}")

    async def answer(self, http: HttpRequest, request: Request, heavy: bool = False) -> Answer:
        """Let the engine answer a request whose body has been read; one that is `heavy` is checked in another thread.

        Raises:
            Expired: its timeout has passed.
            Gone: the client has closed the connection.
            Refused, TrunklineError: as `check` and `Engine.submit`.
        """
        if self.stopping:
            raise stopping()
        waiting = asyncio.wrap_future(await off_loop(heavy, self.engine.submit, request))
        timeout = request.timeout if request.timeout is not None else self.settings.timeout
        gone: asyncio.Task[None] | None = None
        try:
            await asyncio.wait((waiting,), timeout=min(SOON, timeout))
            if not waiting.done():
                gone = asyncio.create_task(_closed(http))
                await asyncio.wait((waiting, gone), timeout=timeout - SOON, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                return waiting.result()
            if gone is not None and gone.done():
                raise Gone("the connection was closed before the answer was there")
            raise Expired(f"the request was not answered within {timeout:g} s")
        finally:
            waiting.cancel()
            if gone is not None:
                gone.cancel()
                with suppress(asyncio.CancelledError):
                    await gone

    def timeout(self, asked: float | None) -> float:
        """The timeout of a request that asks for one, or not."""
        return self.settings.timeout if asked is None else min(asked, self.settings.timeout)


async def _closed(http: HttpRequest) -> None:
    """Wait until the client closes the connection."""
    while (await http.receive())["type"] != "http.disconnect":
        pass


def facts(http: HttpRequest) -> dict[str, Any]:
    """What a route tells the log and the metrics about its request."""
    found: dict[str, Any] = http.scope.setdefault("trunkline", {})
    return found


def layer_shares(branches: Mapping[str, Branch]) -> dict[str, dict[str, float] | None]:
    """By branch, the share of each layer in what it reads; None for a method without such shares."""
    shares = {name: branch.layer_weights() for name, branch in branches.items()}
    return {name: {str(layer): share for layer, share in own.items()} or None for name, own in shares.items()}
