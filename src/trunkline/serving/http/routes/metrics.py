"""`/metrics`."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from trunkline.serving.http.bodies import off_loop
from trunkline.serving.http.metrics import CONTENT_TYPE
from trunkline.serving.http.routes.documented import errors
from trunkline.serving.http.service import Service


def router(service: Service) -> APIRouter:
    """The route that Prometheus reads."""
    made = APIRouter(tags=["health"])

    @made.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **errors()},
        operation_id="metrics",
        summary="What the server did, for Prometheus",
    )
    async def metrics() -> Response:
        """Requests, the queue, batches and padding, and how long each step takes."""
        return Response(await off_loop(True, service.metrics.text), media_type=CONTENT_TYPE)

    return made
