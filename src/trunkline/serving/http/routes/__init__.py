"""The addresses of the server, a file for each group: a function `router(service)` that gives a router.

What other clients speak comes as files like these, and a line in `ROUTERS`.
"""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter

from trunkline.serving.http.routes import (
    changes,
    embeddings_inference,
    health,
    huggingface,
    metrics,
    open_inference,
    page,
    predict,
    tasks,
)
from trunkline.serving.http.service import Service

ROUTERS: tuple[Callable[[Service], APIRouter], ...] = (
    predict.router,
    tasks.router,
    changes.router,
    health.router,
    metrics.router,
    page.router,
    embeddings_inference.router,
    huggingface.router,
    open_inference.router,
)
