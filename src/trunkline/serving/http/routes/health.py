"""`/livez` and `/readyz`."""

from __future__ import annotations

from fastapi import APIRouter

from trunkline.serving.http.errors import Refused, stopping
from trunkline.serving.http.models import Health
from trunkline.serving.http.routes.documented import errors
from trunkline.serving.http.service import Service


def router(service: Service) -> APIRouter:
    """The routes of probes."""
    made = APIRouter(tags=["health"])

    @made.head("/livez", include_in_schema=False)
    @made.get("/livez", response_model=Health, responses={**errors(503)}, operation_id="livez", summary="Is it alive")
    async def livez() -> Health:
        """Whether the process works; it is to be started again where it does not. It asks for no key."""
        if not service.engine.alive and not service.stopping:
            raise Refused(503, "unavailable", "a thread of the engine has ended", {"retry-after": "1"})
        return Health(status="alive")

    @made.head("/readyz", include_in_schema=False)
    @made.get("/readyz", response_model=Health, responses=errors(503), operation_id="readyz", summary="Does it take requests")
    async def readyz() -> Health:
        """Whether requests are taken: not any more once the server is being stopped."""
        if not service.ready:
            raise stopping()
        return Health(status="ready")

    return made
