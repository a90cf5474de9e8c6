"""What every request has to pass before a route sees it: its Host, its key, the size and the form of its body.

It wraps the app as ASGI (https://asgi.readthedocs.io/en/latest/specs/www.html), which costs little per request.
"""

from __future__ import annotations

import asyncio
import base64
import re
import time
from collections.abc import Mapping

from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trunkline.errors import TrunklineError
from trunkline.serving.http.errors import Refused, error_response, of_status
from trunkline.serving.http.page import PAGES
from trunkline.serving.http.service import Service

OPEN = frozenset({"/livez"}) | PAGES  # what is read without a key: the files of the page are the same everywhere
READS = frozenset({"GET", "HEAD"})
CHALLENGES = 'Bearer realm="trunkline", Basic realm="trunkline", charset="UTF-8"'
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(:[0-9]*)?")
SINGLE = (b"host", b"authorization", b"content-type", b"content-length", b"content-encoding")  # headers: one of each at most


class Gate:
    """Refuses what no route should see.

    A key is shown as `Authorization: Bearer KEY`, or as the password of Basic authentication, by which browsers ask for it.

    Args:
        app: what sees the others.
        service: whose settings there are, and which says when there is no room for more.
        predicting: the routes that ask the engine, by their paths, as far as these are fixed: while there is no room, requests
            for them are refused here, at a fraction of what the app takes to do it (benchmarks/LOG.md).
    """

    def __init__(self, app: ASGIApp, service: Service, predicting: Mapping[str, BaseRoute]) -> None:
        self.app, self.service, self.settings, self.predicting = app, service, service.settings, predicting
        self.held = Held(self.settings.held_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1003})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        changes = scope["method"] in ("PUT", "DELETE", "PATCH")
        try:
            reads_open = scope["path"] in OPEN and scope["method"] in READS
            if len(headers) < len(scope["headers"]):
                _check_single([name for name, _ in scope["headers"]])
            host = headers.get(b"host")
            if host is not None or not reads_open or scope["http_version"] != "1.0":  # probes of HTTP/1.0 may name no host
                self._check_host(host)
            if not reads_open:
                self._check_key(headers.get(b"authorization", b""), changes)
            limit = self.settings.upload_bytes if changes else self.settings.body_bytes
            if CONTROL.search(scope["path"]):  # the routes would take a name for that without the line end behind it
                raise of_status(404)
            length = self._check_body(headers, limit)
        except Refused as refused:
            await error_response(refused)(scope, receive, send)
            return
        if scope["method"] == "POST" and (route := self.predicting.get(scope["path"])) is not None:
            try:
                self.service.refuse_early()
            except TrunklineError as error:
                scope["route"] = route
                await error_response(error)(scope, receive, send)
                return
        seconds = self.settings.upload_seconds if changes else self.settings.body_seconds
        body = Body(receive, limit, seconds, None if changes else self.held) if length is None or length > 0 else None
        if body is None:
            await self.app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            body.release()  # it has been parsed and answered; the client may take long to read the answer
            await send(message)

        try:
            await self.app(scope, body.receive, sending)
        except Refused as refused:  # of Body, where no route made an answer of it
            await error_response(refused)(scope, receive, sending)
        finally:
            body.release()

    def _check_host(self, given: bytes | None) -> None:
        hosts = self.settings.hosts
        if hosts is None:
            return
        found = _HOST.fullmatch(given.decode("latin-1").strip().lower() if given else "")
        if found is None or found[1] not in hosts:
            raise Refused(403, "unauthorized", "the header Host names another host than this one", close=True)

    def _check_key(self, authorization: bytes, changes: bool) -> None:
        settings = self.settings
        if not settings.covered and not changes:
            return
        key = shown_key(authorization)
        admin = settings.admin_keys.hold(key)
        known = settings.keys.hold(key) | admin
        if settings.covered and not known:
            raise Refused(
                401,
                "unauthorized",
                "expected a key that this server knows, in the header Authorization: Bearer KEY",
                {"www-authenticate": CHALLENGES},
            )
        if changes and not admin:
            sentence = "only an admin key may change which tasks are served"
            if not settings.admin_keys.given:
                sentence += "; none was given when the server was started"
            raise Refused(403, "unauthorized", sentence)

    def _check_body(self, headers: Mapping[bytes, bytes], limit: int) -> int | None:
        """The length of the body, None where the request does not say."""
        coding = headers.get(b"content-encoding", b"").strip().lower()
        if coding not in (b"", b"identity"):
            raise Refused(415, "bad_input", "found a compressed body, expected one as it is", close=True)
        stated = headers.get(b"content-length")
        if stated is None:
            return None if b"transfer-encoding" in headers else 0
        if not stated.isdigit() or len(stated) > 18:
            raise Refused(400, "bad_input", "the header Content-Length: found no number, expected one", close=True)
        if int(stated) > limit:
            raise too_large(limit)
        return int(stated)


class Held:
    """Counts the bytes of all bodies that are in memory; no more than `limit` are taken in."""

    def __init__(self, limit: int) -> None:
        self.limit, self.bytes = limit, 0


class Body:
    """The body of a request, which may be no longer than a limit, and has to be there in time.

    Its bytes are counted in `held`, if that is given, until `release` is called.
    """

    def __init__(self, receive: Receive, limit: int, seconds: float, held: Held | None = None) -> None:
        self._held, self._own = held, 0
        self._receive, self._limit, self._left = receive, limit, limit
        self._seconds, self._until = seconds, time.monotonic() + seconds
        self._more = True

    async def receive(self) -> Message:
        """The next part; then, when the client closes the connection, that."""
        if not self._more:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), self._until - time.monotonic())
        except TimeoutError:
            raise Refused(408, "timeout", f"the body was not there within {self._seconds:g} s", close=True) from None
        size = len(message.get("body", b""))
        self._left -= size
        self._more = message["type"] == "http.request" and message.get("more_body", False)
        if self._left < 0:
            raise too_large(self._limit)
        if self._held is not None:
            if self._held.bytes + size > self._held.limit:
                raise Refused(
                    429,
                    "overloaded",
                    "the bodies of other requests fill the memory for them; try again in 1 s",
                    {"retry-after": "1"},
                    close=True,
                )
            self._held.bytes += size
            self._own += size
        return message

    def release(self) -> None:
        """Its bytes are held no more."""
        if self._held is not None:
            self._held.bytes -= self._own
            self._own = 0


def too_large(limit: int) -> Refused:
    """The refusal of a body that is longer than `limit` bytes."""
    return Refused(413, "too_large", f"the body: found more than {limit} bytes, expected at most so many", close=True)


def shown_key(authorization: bytes) -> str:
    """The key in a header Authorization; empty where there is none."""
    scheme, _, value = authorization.decode("latin-1").strip().partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        return value
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode("utf-8").partition(":")[2]
        except ValueError:  # no base64, also for what is not ASCII, or no UTF-8
            return ""
    return ""


def _check_single(names: list[bytes]) -> None:
    """Refuse headers that mean one thing or another, depending on which of them is read."""
    for name in SINGLE:
        if (count := names.count(name)) > 1:
            shown = name.decode().title()
            raise Refused(400, "bad_input", f"the header {shown}: found {count}, expected one", close=True)
