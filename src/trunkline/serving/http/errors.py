"""Every error of the server as a status and one sentence, which never holds a text of the request."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_json
from starlette.responses import Response

from trunkline.errors import BadInput, TrunklineError, unknown_name
from trunkline.serving.request import Closed, Expired, Overloaded

ErrorType = Literal["bad_input", "unauthorized", "not_found", "too_large", "overloaded", "timeout", "unavailable", "internal"]
MANY = 100  # errors of a body, beyond which they are not looked at
_KEY = re.compile(r"[\w.-]{1,40}", re.ASCII)
_PLACE = re.compile(r"[a-z_]{1,30}")


class ErrorAnswer(BaseModel):
    """What is wrong, in one sentence."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"error": "texts: found a number, expected a list", "error_type": "bad_input"}]}
    )
    error: str
    error_type: ErrorType = Field(description="the kind of error, for programs")


class Refused(TrunklineError):
    """A request that is refused with a status.

    Args:
        status: of HTTP.
        error_type: as of `ErrorAnswer`.
        sentence: what was found, and what was expected.
        headers: of the answer.
    """

    def __init__(
        self, status: int, error_type: ErrorType, sentence: str, headers: Mapping[str, str] | None = None, close: bool = False
    ) -> None:
        super().__init__(sentence)
        self.status, self.error_type = status, error_type
        self.headers = {**(headers or {}), **({"connection": "close"} if close else {})}


class Gone(TrunklineError):
    """The client has closed its connection; nobody reads the answer."""


def as_refused(error: Exception) -> Refused:
    """An error of the engine or of a router, as it is told."""
    match error:
        case Refused():
            return error
        case Overloaded():
            seconds = max(1, math.ceil(error.retry_after))
            return Refused(429, "overloaded", f"{error}; try again in {seconds} s", {"retry-after": str(seconds)})
        case Closed():
            return stopping()
        case Expired():
            return Refused(504, "timeout", str(error))
        case Gone():
            return Refused(499, "timeout", str(error))
        case BadInput():
            return Refused(422, "bad_input", str(error))
        case TrunklineError():
            return Refused(500, "internal", str(error))
    return Refused(500, "internal", f"unexpected {type(error).__name__}")


def stopping() -> Refused:
    """The refusal of a server that is about to end."""
    return Refused(503, "unavailable", "the server is being stopped; try again", {"retry-after": "1"}, close=True)


def of_status(status: int, headers: Mapping[str, str] | None = None) -> Refused:
    """What a router refuses by itself: no such route, another method."""
    error_type: ErrorType = "not_found" if status in (404, 405) else "bad_input" if status < 500 else "internal"
    sentences = {404: "there is no such address; /openapi.json lists those that there are", 405: "this method is not used here"}
    return Refused(status, error_type, sentences.get(status, HTTPStatus(status).phrase.lower()), headers)


def error_response(error: Exception) -> Response:
    """The answer for an error."""
    refused = as_refused(error)
    body = to_json({"error": str(refused), "error_type": refused.error_type})
    return Response(body, refused.status, headers=refused.headers, media_type="application/json")


def raw_refusal(status: int, sentence: str) -> bytes:
    """The answer, to be sent as it is, for what no app sees; the connection is closed behind it."""
    kinds: dict[int, ErrorType] = {400: "bad_input", 408: "timeout", 503: "unavailable"}
    body = to_json({"error": sentence, "error_type": kinds.get(status, "too_large")})
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


def validation_sentence(error: ValidationError) -> str:
    """The first thing that is wrong with a body, in one sentence without what it holds."""
    if error.error_count() > MANY:  # lists end at their first error
        return f"the body: found {error.error_count()} errors, expected the keys that /openapi.json lists"
    found = error.errors(include_url=False)
    deepest = max(found, key=lambda one: sum(isinstance(part, int) for part in one["loc"]))  # what of a union was meant
    first = next((one for one in found if one["type"] == "extra_forbidden"), deepest)  # rather than the key it is meant as
    kind = first["type"]
    if kind == "json_invalid":
        return f"the body: found no valid JSON ({_json_problem(first)}), expected an object"
    if kind == "extra_forbidden":
        return _unknown_key(_place(first["loc"][:-1]), str(first["loc"][-1]), _known_keys(error, first["loc"][:-1]))
    place = _place(first["loc"])
    if kind == "missing":
        return f"{place}: found none, expected one"
    same = [one for one in found if _place(one["loc"]) == place and one["type"] not in ("missing", "extra_forbidden")]
    expected = " or ".join(dict.fromkeys(_expected(one) for one in same))
    counted = any("too_" in one["type"] for one in same)
    return f"{place}: found {_kind_of(first.get('input'), counted)}, expected {expected}"


_models: dict[str, tuple[str, ...]] = {}


def remember(model: type[BaseModel]) -> None:
    """Let the sentence for an unknown key of this model name the nearest of its keys."""
    _models[model.__name__] = tuple(field.alias or name for name, field in model.model_fields.items())


def _known_keys(error: ValidationError, inside: Iterable[Any]) -> tuple[str, ...]:
    return _models.get(error.title, ()) if not list(inside) else ()


def _unknown_key(place: str, key: str, known: tuple[str, ...]) -> str:
    if not known or not _KEY.fullmatch(key):
        return f"{place}: found an unknown key, expected the keys that /openapi.json lists"
    return f"{place}: found an unknown key; " + str(unknown_name("", key, known)).partition("; ")[2]


def _json_problem(error: Any) -> str:
    """Why it is no JSON: the parser's words hold nothing of the text."""
    problem = str(error["ctx"]["error"])
    if "recursion" in problem:
        return "nested too deep"
    return re.sub(r"[`'\"].*?[`'\"]", "a character", problem)


def _place(location: tuple[Any, ...]) -> str:
    """Where something is wrong: `texts[1]`; what the checks of unions add is left out."""
    shown = ""
    for part in location:
        if isinstance(part, int):
            shown += f"[{part}]"
        elif _PLACE.fullmatch(str(part)) and str(part) not in ("str", "int", "float", "bool"):
            shown += f".{part}" if shown else str(part)
    return shown or "the body"


_BOUNDS = {
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "greater_than_equal": "a number of at least {ge:g}",
    "greater_than": "a number above {gt:g}",
    "less_than_equal": "a number of at most {le:g}",
    "less_than": "a number below {lt:g}",
    "int_parsing_size": "a whole number of fewer digits",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
}


def _expected(error: Any) -> str:
    kind, given = error["type"], error.get("ctx", {})
    if (bound := _BOUNDS.get(kind)) is not None:
        return bound.format(**given)
    message = str(error["msg"]).removeprefix("Input should be ").removeprefix("Value error, ")
    names = {
        "a valid string": "a string",
        "a valid list": "a list",
        "a valid array": "a list",
        "a valid tuple": "a list",
        "a valid integer": "a whole number",
        "a valid number": "a number",
        "a valid boolean": "true or false",
        "an object": "an object",
    }
    return names.get(message, message[:1].lower() + message[1:])


def _kind_of(value: Any, counted: bool) -> str:
    """What was found, by its kind alone, and of a list the length where that is what is wrong."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, dict):
        return "an object"
    return f"a list of {len(value)}" if counted else "a list"
