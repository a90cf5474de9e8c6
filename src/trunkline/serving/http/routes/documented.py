"""How `/openapi.json` describes errors and keys."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from trunkline.serving.http.errors import ErrorAnswer

_RETRY = {"Retry-After": {"description": "Seconds after which to try again.", "schema": {"type": "integer"}}}
_SAID: dict[int, tuple[str, Any]] = {
    400: ("No JSON, or a broken request.", {}),
    401: ("A key is asked for, and none, or another one, was shown.", {}),
    403: ("Asks for an admin key, or the header Host names another host.", {}),
    404: ("There is none of that name.", {}),
    408: ("The body did not come in time.", {}),
    413: ("More than the limits allow.", {}),
    415: ("Another content type than the one expected, or a compressed body.", {}),
    422: ("Well formed, and not usable.", {}),
    429: ("The queue is full.", _RETRY),
    500: ("Computing failed.", {}),
    503: ("The server is being stopped, or has no task at the moment.", _RETRY),
    504: ("Not answered in time.", {}),
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The answers that an operation may refuse with, besides those of every operation."""
    return {
        status: {"model": ErrorAnswer, "description": said, **({"headers": headers} if headers else {})}
        for status, (said, headers) in _SAID.items()
        if status in (400, 401, 403, *statuses)
    }


def describe_keys(described: dict[str, Any], covered: bool, without: Collection[str]) -> dict[str, Any]:
    """Say in a description of OpenAPI, in place, which operations ask for a key.

    Args:
        described: as FastAPI makes it.
        covered: whether a key is asked for at all; one that changes tasks needs an admin key in any case.
        without: addresses that are read without one.
    """
    schemes = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer KEY`"},
        "basic": {"type": "http", "scheme": "basic", "description": "A key as the password, as browsers ask for it."},
    }
    described.setdefault("components", {})["securitySchemes"] = schemes
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            if path in without and method in ("get", "head"):
                operation["responses"].pop("401", None)
            elif covered or method in ("put", "delete"):
                operation["security"] = [{name: []} for name in schemes]
    return described
