"""Around all of the app: each request is timed, counted and logged, and an error that nobody foresaw becomes an answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from typing import Any

from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trunkline.serving.http.errors import as_refused, error_response, stopping
from trunkline.serving.http.metrics import Metrics
from trunkline.serving.http.security import CONTROL
from trunkline.serving.http.tracing import Tracer

log = logging.getLogger("trunkline.serving.http.access")
trouble = logging.getLogger("trunkline.serving")

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
QUIET = frozenset({"/livez", "/readyz", "/metrics"})  # asked all the time: logged where they fail


class Access:
    """Times, counts and logs requests; of their content it takes nothing but how many texts and tokens there were."""

    def __init__(self, app: ASGIApp, metrics: Metrics, tracer: Tracer) -> None:
        self.app, self.metrics, self.tracer = app, metrics, tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0
        # what routes tell; and a connection, the status with which it refused the body that the app was reading
        told: dict[str, Any] = scope.setdefault("trunkline", {})

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with self.tracer.span(scope) as span:
            try:
                await self.app(scope, receive, sending)
            except Exception as error:
                trouble.error("a request failed", exc_info=error)
                if not status:
                    await error_response(as_refused(error))(scope, receive, sending)
            except asyncio.CancelledError:  # the server ends, and a body is still coming or computing takes too long
                if status or not scope["app"].state.service.stopping:
                    raise
                await error_response(stopping())(scope, receive, sending)
            method = scope["method"] if scope["method"] in _METHODS else "other"
            route, status = route_of(scope), told.get("status", status)
            span.end(method, route, status, told)
        self._note(method, route, status, time.perf_counter() - began, told)

    def refused(self, status: int, seconds: float) -> None:
        """Count and log a request that its connection refused: it could not be read, nor its method and address be known."""
        self._note("other", "other", status, seconds, {})

    def _note(self, method: str, route: str, status: int, seconds: float, told: dict[str, Any]) -> None:
        self.metrics.requests.labels(method, route, status).inc()
        self.metrics.request_seconds.labels(route).observe(seconds)
        if (queued := told.get("queued")) is not None:
            self.metrics.queue_seconds.observe(queued)
        if route not in QUIET or status >= 400:
            facts = {key: told[key] for key in ("texts", "tokens", "task") if key in told}
            log.info("request", extra={"facts": {"method": method, "route": route, "status": status} | facts | _ms(seconds)})


def _ms(seconds: float) -> dict[str, float]:
    return {"ms": round(1000 * seconds, 2)}


def route_of(scope: Scope) -> str:
    """The address as the routes have it, without what a client put into it; "other" for one that there is not."""
    route = scope.get("route") or _matching(scope)
    path = getattr(route, "path", None)
    return path if isinstance(path, str) and path else "other"


def _matching(scope: Scope) -> object:
    """The route of a request that was refused before one was looked for, or of what keeps none in the scope."""
    if CONTROL.search(scope["path"]):
        return None
    found = [(match, route) for route in routes_of(scope["app"]) if (match := route.matches(scope)[0]) != Match.NONE]
    return max(found, key=lambda one: one[0].value, default=(None, None))[1]  # rather one with the method, too


def methods_of(scope: Scope) -> set[str]:
    """The methods that an address takes."""
    found = (route for route in routes_of(scope["app"]) if route.matches(scope)[0] != Match.NONE)
    return {method for route in found for method in getattr(route, "methods", None) or ()}


def routes_of(app: Any) -> Iterator[Any]:
    """The routes of an app or a router one by one: FastAPI keeps those of a router that was included together."""
    for route in app.routes:
        inner = getattr(route, "original_router", None)
        if inner is None:
            yield route
        else:
            yield from routes_of(inner)
