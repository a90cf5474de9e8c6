"""Bodies of requests, read as JSON within limits, and answers written as JSON."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar, get_type_hints

from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from trunkline.serving.http.errors import Gone, Refused, remember, validation_sentence

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

Unpack = Callable[[Mapping[str, str], bytes, int], bytes]  # headers, the body, and how many elements its JSON may have

HEAVY = 1 << 15  # bytes of a body from which on it is not worked on in the thread of the event loop
_STRING = re.compile(rb'"[^"]*"?')
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)


class JsonRoute(APIRoute):
    """A route whose endpoint is given the request, what its path names and, as `body`, its JSON as the annotated model.

    FastAPI documents it as it does any route; the body itself is read here: with this package's limits and sentences, in one
    step from bytes to the model, and in another thread where it is large. A subclass whose bodies are not JSON alone has
    `unpacked` make JSON of them.
    """

    unpacked: Unpack | None = None
    respond: Callable[[Request], Coroutine[Any, Any, Response]]  # raises TrunklineError

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        endpoint: Callable[..., Awaitable[Response]] = self.endpoint
        model: type[BaseModel] = get_type_hints(endpoint)["body"]
        remember(model)

        async def handle(request: Request) -> Response:
            request.app.state.service.refuse_early()
            read = await read_json(request, model, type(self).unpacked)
            return await endpoint(request=request, body=read, **request.path_params)

        self.respond = handle
        return handle


async def read_json(request: Request, model: type[M], unpack: Unpack | None = None) -> M:
    """The body, or what `unpack` makes of its headers and its bytes, as a model.

    Raises:
        Refused: it is no JSON, or not what the model describes; the sentence says where.
        Gone: the client closed the connection before it was sent.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    unsaid = not kind and "origin" not in request.headers  # as Triton's client; a browser says where its page is from
    if not unsaid and kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        # what a page of another site may send without asking first is refused, too
        found = "another" if kind else "none"
        raise Refused(415, "bad_input", f"the header Content-Type: found {found}, expected application/json")
    try:
        body = b"".join([part async for part in request.stream()])  # `body()` would keep it as long as there is the request
    except ClientDisconnect:
        raise Gone("the connection was closed before the body was sent") from None
    service = request.app.state.service
    request.state.heavy = len(body) > HEAVY
    if not request.state.heavy:
        return parse(body if unpack is None else unpack(request.headers, body, service.settings.elements), model)
    async with service.parsing:
        if unpack is not None:
            body = await off_loop(True, unpack, request.headers, body, service.settings.elements)
        await off_loop(True, check_elements, body, service.settings.elements)
        return await off_loop(True, parse, body, model)


def is_heavy(request: Request) -> bool:
    """Whether the body that was read is so large that what is done with it is done in another thread."""
    return bool(request.state.heavy)


def check_elements(body: bytes, limit: int) -> None:
    """Refused where JSON has more elements and keys than `limit`; it is counted before it is parsed, which takes longer."""
    marks = (b",", b"[", b"{")
    if sum(map(body.count, marks)) <= limit:
        return
    bare = _STRING.sub(b"", body.replace(rb"\\", b"").replace(rb"\"", b""))
    if sum(map(bare.count, marks)) > limit:
        raise Refused(
            413, "too_large", f"the body: found more than {limit} elements of lists and keys, expected at most so many"
        )


def without_halves(body: bytes) -> bytes:
    """JSON with every escape of half a surrogate pair as that of U+FFFD, as texts are read elsewhere.

    JavaScript writes such escapes for a text that was cut within a character; the parser refuses them.
    """
    return _ESCAPE.sub(lambda match: match[0] if match[1] is None else rb"\ufffd", body)


def parse(body: bytes, model: type[M]) -> M:
    """JSON as a model; Refused where it is none."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        sentence = validation_sentence(error)
        invalid = error.error_count() == 1 and error.errors(include_url=False, include_input=False)[0]["type"] == "json_invalid"
    if invalid and (mended := without_halves(body)) != body:
        return parse(mended, model)
    raise Refused(400 if invalid else 422, "bad_input", sentence)


async def off_loop(heavy: bool, work: Callable[..., T], *given: Any) -> T:
    """Do some work, in a thread of the pool where it is `heavy`.

    An error is raised here, not through the future that the thread is waited for with: that would hold on to the error, which
    holds on to what the work was given, a body of megabytes, until garbage is collected.
    """
    if not heavy:
        return work(*given)
    done: list[T] = []
    error = await run_in_threadpool(_caught, done, work, given)
    if error is None:
        return done[0]
    try:
        raise error
    finally:
        del error


def _caught(done: list[T], work: Callable[..., T], given: tuple[Any, ...]) -> Exception | None:
    try:
        done.append(work(*given))
    except Exception as error:
        return error
    return None


def json_response(value: Any, status: int = 200) -> Response:
    """An answer in JSON."""
    return Response(to_json(value), status, media_type="application/json")
