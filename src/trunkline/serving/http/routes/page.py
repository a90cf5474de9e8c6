"""`/`: the page to try tasks with, and its files under `/page/`."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from trunkline.serving.http.page import page_files
from trunkline.serving.http.service import Service

HEADERS = {
    # Scripts, styles and requests of this server alone; with trusted types the browser refuses to read any string as markup.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def router(service: Service) -> APIRouter:
    """The routes of the page. Its files are read once, so that no path of a request reaches the file system."""
    made = APIRouter(include_in_schema=False)
    for path, (content, media_type) in page_files().items():
        made.add_api_route(path, _served(content, media_type), methods=["GET", "HEAD"])
    return made


def _served(content: bytes, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    headers = {**HEADERS, "ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"'}

    async def served(request: Request) -> Response:
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=media_type, headers=headers)

    return served
