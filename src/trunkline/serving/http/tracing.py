"""A span of OpenTelemetry for each request, where its package is installed.

Nothing is recorded unless a program, or the environment, sets up where spans are sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from starlette.types import Scope


class Span:
    """A span that is not recorded."""

    def end(self, method: str, route: str, status: int, told: Mapping[str, Any]) -> None:
        """Say what became of the request."""


class Tracer:
    """Makes no spans."""

    @contextmanager
    def span(self, scope: Scope) -> Iterator[Span]:
        """Around a request."""
        yield Span()


class _Recorded(Span):
    def __init__(self, span: Any, failed: Any) -> None:
        self._span, self._failed = span, failed

    def end(self, method: str, route: str, status: int, told: Mapping[str, Any]) -> None:
        self._span.update_name(f"{method} {route}")
        names = {"texts": "trunkline.texts", "tokens": "trunkline.tokens"}
        times = {"queued": "trunkline.queued_seconds", "computed": "trunkline.computed_seconds"}
        self._span.set_attributes(
            {"http.request.method": method, "http.route": route, "http.response.status_code": status}
            | {name: told[key] for key, name in (names | times).items() if key in told}
        )
        if status >= 500:
            self._span.set_status(self._failed)


class _OpenTelemetry(Tracer):
    def __init__(self, trace: Any, propagate: Any) -> None:
        self._trace, self._propagate = trace, propagate
        self._tracer = trace.get_tracer("trunkline")

    @contextmanager
    def span(self, scope: Scope) -> Iterator[Span]:
        if isinstance(self._trace.get_tracer_provider(), self._trace.ProxyTracerProvider):  # none is set up
            yield Span()
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        context = self._propagate.extract(headers)
        kind = self._trace.SpanKind.SERVER
        with self._tracer.start_as_current_span("request", context=context, kind=kind, record_exception=False) as span:
            yield _Recorded(span, self._trace.StatusCode.ERROR)


def tracer() -> Tracer:
    """OpenTelemetry's, where `opentelemetry-api` is installed."""
    try:
        from opentelemetry import propagate, trace
    except ImportError:
        return Tracer()
    return _OpenTelemetry(trace, propagate)
