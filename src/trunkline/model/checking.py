"""Sections of a config checked, and one sentence for what is wrong with them.

A sentence says where (the file or the override, and the key), what was found and what was expected.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from trunkline.errors import BadInput, clipped, literal, unknown_name
from trunkline.registry import Registry

ANSWERS = ("label", "labels", "target", "tags")  # keys of tasks for the column of their answers
DEEPEST = 20  # sections within sections: no config needs half as many
_WORDS = {"int": "a whole number", "float": "a number", "string": "a string", "bool": "true or false"}
_WORDS |= {"list": "a list", "dict": "a mapping", "model": "a section"}


class Origin(str):
    """How messages name where a config comes from, usually a file; what an override has set, they name by the override."""

    overrides: tuple[str, ...]

    def __new__(cls, name: str, overrides: Iterable[str] = ()) -> Origin:
        made = super().__new__(cls, name)
        made.overrides = tuple(overrides)
        return made

    def override(self, key: str) -> str | None:
        """Return the override that has set `key`, if one has."""
        for text in reversed(self.overrides):
            given = text.partition("=")[0]
            if key == given or key.startswith(given + "."):
                return text
        return None

    def of(self, key: str) -> str:
        """Return where `key` was given."""
        text = self.override(key)
        return str(self) if text is None else f"override {text!r}"


def at(where: str, key: str) -> dict[str, Any]:
    """Return where `key` was given, and the key, as errors take them."""
    return {"where": where.of(key) if isinstance(where, Origin) else where, "key": key}


def refuse_extremes(values: Any, where: str, place: str, depth: int = 0) -> None:
    """Raise BadInput for what no setting means and what libraries break at: whole numbers of more than 32 bits, text with NUL
    or with half a character, sections within sections without end.
    """
    if isinstance(values, (dict, list, tuple)):
        if depth > DEEPEST:
            raise BadInput(f"found sections nested more than {DEEPEST} deep, expected fewer", **at(where, place))
        for key, value in values.items() if isinstance(values, dict) else enumerate(values):
            refuse_extremes(key, where, place)
            inner = ".".join(filter(None, (place, clipped(key)))) if isinstance(values, dict) else place
            refuse_extremes(value, where, inner, depth + 1)
    elif isinstance(values, int) and abs(values) >= 2**32:
        raise BadInput(found=literal(values), expected="a number of at most 32 bits", **at(where, place))
    elif isinstance(values, str) and re.search("[\0\ud800-\udfff]", values):
        raise BadInput("found a character that is no Unicode text, expected text", **at(where, place))


def number(value: object) -> object:
    """Return `value`, as a number if it is text such as 1e-3, which YAML 1.1 does not read as one."""
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        return float(value)
    return value


def _numbers(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: _numbers(value) for key, value in values.items()}
    return number(values)


class _Truth:
    """A boolean that stands where a number is expected: pydantic would take it for 1 or 0, and does not know this."""

    def __init__(self, value: bool) -> None:
        self.value = value

    def __repr__(self) -> str:
        return str(self.value).lower()


def _no_truths(expected: Any, value: Any) -> Any:
    """`value` with its booleans hidden where the annotation `expected` asks for a number."""
    kinds = list(_members(expected))
    if isinstance(value, bool):
        return _Truth(value) if {int, float} & {*kinds} and not {bool, Any} & {*kinds} else value
    for kind in kinds:
        fields, inner = getattr(kind, "model_fields", None), get_args(kind)
        if isinstance(value, dict) and fields is not None:
            return {key: _no_truths(fields[key].annotation, one) if key in fields else one for key, one in value.items()}
        if isinstance(value, dict) and get_origin(kind) is dict:
            return {key: _no_truths(inner[1], one) for key, one in value.items()}
        if isinstance(value, list) and get_origin(kind) in (list, tuple):
            return [_no_truths(inner[0], one) for one in value]
    return value


def _members(annotation: Any) -> Iterator[Any]:
    """What an annotation may be, one by one, without what `Annotated` adds."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        for one in get_args(annotation):
            yield from _members(one)
    else:
        yield annotation


def validate_section(model: type[BaseModel], values: dict[str, Any], where: str, place: str, *, strict: bool = False) -> Any:
    """Return `values` as a `model`; `where` (file) and `place` (key) open the sentence of the BadInput otherwise.

    `strict`: nothing is converted, as in a file that Trunkline has written.
    """
    try:
        if strict:  # as JSON, where a list may stand for a tuple
            return model.model_validate_json(json.dumps(values))
        return model.model_validate(_no_truths(model, _numbers(values)))
    except ValidationError as error:
        raise _sentence(model, error, where, place) from None


def named_section(value: Any, key: str, registry: Any, where: str, place: str) -> BaseModel:
    """Check one `method:` or task section against the Config of the thing that it names."""
    if isinstance(value, BaseModel):
        return value
    if not isinstance(value, dict) or key not in value:
        raise BadInput(expected=f"a section with {key!r}, one of {', '.join(registry.names())}", **at(where, place))
    if isinstance(value[key], str):
        value = {**value, key: registry.known_as(value[key])}
    thing = registry.get(value[key], **at(where, f"{place}.{key}"))
    if (unknown := next((one for one in value if one not in thing.Config.model_fields), None)) is not None:
        raise not_a_key(unknown, key, value[key], registry, where, place)
    return validate_section(thing.Config, value, where, place)


def not_a_key(unknown: object, key: str, name: str, registry: Registry[Any], where: str, place: str) -> BadInput:
    """Return the error for a key that the thing called `name` does not have: it is one of others of its kind, or mistyped.

    Args:
        unknown: the key.
        key: the one that names the thing, `name` or `kind`.
        name: of the thing.
        registry: it and the others of its kind.
        where: file.
        place: key of the section.
    """
    fields = {other: registry.get(other).Config.model_fields.keys() - {key} for other in registry.names()}
    opening, own = at(where, f"{place}.{clipped(unknown)}"), sorted(fields[name])
    owners = [other for other in fields if unknown in fields[other]]
    if not owners and difflib.get_close_matches(str(unknown), own, n=1, cutoff=0.6):
        return unknown_name(found=unknown, known=own, **opening)
    others = f" but of {' and '.join(owners)}" if owners else ""
    if near := difflib.get_close_matches(str(unknown), own, n=1, cutoff=0.8):
        others += f"; did you mean {near[0]!r}?"
    elif unknown in ANSWERS and (meant := next((one for one in ANSWERS if one in own), None)):
        others += f"; did you mean {meant!r}?"
    keys = f"; the keys of {name} are {', '.join(own)}" if own else ", which has none"
    return BadInput(f"not a key of {name}{others}{keys}", **opening)


def _sentence(model: type[BaseModel], error: ValidationError, where: str, place: str) -> BadInput:
    """One sentence for the first thing that pydantic found; an unknown key names the nearest known one."""
    errors = [(_path(model, one["loc"]), one) for one in error.errors(include_url=False)]
    # Of a value that may be one thing or another pydantic says why it is none of them; the one that it looked into is meant.
    first = errors[0][0]
    alike = [(path, one) for path, one in errors if path[: len(first)] == first[: len(path)]]
    path = max((path for path, _ in alike), key=len)
    chosen = [one for other, one in alike if other == path]
    opening, kind = at(where, ".".join(filter(None, [place, *path])) or "config"), chosen[0]["type"]
    if kind == "extra_forbidden":
        owner = _section_at(model, path[:-1])
        return unknown_name(found=path[-1], known=[*owner.model_fields, *getattr(owner, "ALSO", ())], **opening)
    if kind == "missing":
        return BadInput("missing, expected a value", **opening)
    if kind == "value_error":
        found = chosen[0]["input"]
        before = "" if isinstance(found, (dict, list)) else f"found {literal(found)}, "
        return BadInput(f"{before}{chosen[0]['msg'].removeprefix('Value error, ')}", **opening)
    # A list of another length is a list as expected: of what may be that or something else, it is meant.
    chosen = [one for one in chosen if "actual_length" in one.get("ctx", {})] or chosen
    return BadInput(found=_found(chosen[0]), expected=" or ".join(dict.fromkeys(map(_expected, chosen))), **opening)


def _path(model: type[BaseModel], location: tuple[Any, ...]) -> tuple[str, ...]:
    """The keys of a pydantic location, without the names that it gives to the members of a union."""
    keys: list[str] = []
    annotation: Any = model
    for part in location:
        while get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        members = [one for one in get_args(annotation) if one is not NoneType]
        if get_origin(annotation) in (Union, UnionType) and len(members) == 1:  # a section that may be left out
            (annotation,) = members
        if get_origin(annotation) in (Union, UnionType):
            annotation = None
        elif part != "[key]":
            keys.append(clipped(part))
            fields = getattr(annotation, "model_fields", {})
            inner = get_args(annotation)[-1] if get_origin(annotation) in (dict, list) else None
            annotation = fields[part].annotation if part in fields else inner
    return tuple(keys)


def _section_at(model: type[BaseModel], path: tuple[str, ...]) -> Any:
    """The model of the section at some keys: of a field, of one that may be None, or of a value of a mapping or list."""
    owner: Any = model
    for part in path:
        owner = (
            owner.model_fields[part].annotation
            if hasattr(owner, "model_fields")
            else [one for one in get_args(owner) if one is not ...][-1]
        )
        if get_origin(owner) in (Union, UnionType):
            owner = next(one for one in get_args(owner) if one is not NoneType)
    while get_origin(owner) in (Annotated, tuple, list):
        owner = get_args(owner)[0]
    return owner


def _found(one: Any) -> str:
    value = one["input"]
    if "actual_length" in one.get("ctx", {}):
        return f"{one['ctx']['actual_length']} of them"
    return literal(value.value if isinstance(value, _Truth) else value)


def _expected(one: Any) -> str:
    kind, message = one["type"], one["msg"].removeprefix("Input should be ")
    if kind.endswith(("_type", "_parsing", "_parsing_size", "_from_float")) and (words := _WORDS.get(kind.split("_")[0])):
        return words
    if "min_length" in one.get("ctx", {}):
        return f"at least {one['ctx']['min_length']}"
    return f"a number {message}" if message.startswith(("greater", "less")) else message[0].lower() + message[1:]
