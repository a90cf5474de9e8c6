"""The HTTP server as an ASGI app: routes over one engine, behind checks of host, key and size."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

import trunkline
from trunkline.errors import TrunklineError
from trunkline.serving.engine import Engine
from trunkline.serving.http.access import Access, methods_of, routes_of
from trunkline.serving.http.bodies import JsonRoute
from trunkline.serving.http.errors import error_response, of_status
from trunkline.serving.http.metrics import Metrics
from trunkline.serving.http.routes import ROUTERS
from trunkline.serving.http.routes.documented import describe_keys
from trunkline.serving.http.security import OPEN, Gate
from trunkline.serving.http.service import Service
from trunkline.serving.http.settings import Settings
from trunkline.serving.http.tracing import tracer

SAID = "Many text tasks over one pass of one trunk."
DEFAULT = Settings()


class App(FastAPI):
    """FastAPI behind `Access`, `Gate` and `Direct`: what they refuse or answer does not go through it."""

    outermost: Access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        await self.outermost(scope, receive, send)


class Direct:
    """Lets routes of a fixed path answer by themselves: what FastAPI does around them takes a quarter of the event loop's time
    for an answer (benchmarks/LOG.md), and they use none of it.

    Args:
        app: answers all other requests.
        routes: by path; they take POST.
    """

    def __init__(self, app: ASGIApp, routes: Mapping[str, JsonRoute]) -> None:
        self.app, self.routes = app, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self.routes.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if route is None:
            await self.app(scope, receive, send)
            return
        scope["route"] = route
        try:
            response = await route.respond(Request(scope, receive, send))
        except TrunklineError as error:
            response = error_response(error)
        await response(scope, receive, send)


def create_app(engine: Engine, settings: Settings = DEFAULT) -> App:
    """An app that answers from `engine`; the caller closes the engine after the app.

    Args:
        engine: what answers.
        settings: limits, keys and hosts.
    """
    metrics = Metrics()
    metrics.watch(engine)
    service = Service(engine, settings, metrics)
    app = App(
        title="Trunkline",
        version=trunkline.__version__,
        description=SAID,
        openapi_url="/openapi.json",
        docs_url="/docs" if settings.docs else None,
        redoc_url=None,
        redirect_slashes=False,
        # FastAPI's own spans and logs, where it has some, hold what clients put into addresses, and errors' words: tracing.py
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )
    app.state.service = service
    describe = app.openapi
    # FastAPI keeps what it has made, so that this is done again on the same, with the same result
    app.openapi = lambda: describe_keys(describe(), settings.covered, OPEN)  # type: ignore[method-assign]
    for make in ROUTERS:
        app.include_router(make(service))
    app.add_exception_handler(TrunklineError, _failed)
    app.add_exception_handler(HTTPException, _of_router)
    app.add_exception_handler(Exception, _failed)
    predicting = {route.path: route for route in routes_of(app) if isinstance(route, JsonRoute) and "{" not in route.path}
    inner = Direct(super(App, app).__call__, predicting)
    app.outermost = Access(Gate(inner, service, predicting), metrics, tracer())
    return app


async def _failed(request: Request, error: Exception) -> Response:
    return error_response(error)


async def _of_router(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = error.headers
    if error.status_code == 405:  # the router names those of the first route of the address alone
        headers = {**(headers or {}), "Allow": ", ".join(sorted(methods_of(request.scope)))}
    return error_response(of_status(error.status_code, headers))
