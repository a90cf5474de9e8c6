"""Templates of jinja2 that escape every value, whatever a template forgets, and refuse a value that they are not given."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

OWN = __name__.rpartition(".")[0]  # this package, whose templates others extend
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def printable(text: str) -> str:
    """A text without control characters and halves of surrogate pairs, which neither HTML nor UTF-8 holds: they are U+FFFD."""
    return _CONTROLS.sub("\ufffd", text)


@cache
def html(package: str = OWN) -> Environment:
    """The environment of HTML templates, those in the folder `templates` of a package before those of this one."""
    made = _environment(package, lambda value: value if hasattr(value, "__html__") else printable(str(value)))
    made.autoescape = True
    return made


@cache
def plain(package: str, escape: Callable[[str], str], **marks: str) -> Environment:
    """The environment of templates in another language than HTML.

    Args:
        package: that has them, in its folder `templates`.
        escape: of every value that a template prints, but for instances of `Raw`.
        marks: of jinja2's syntax (`block_start_string`, ...), where its own mean something in the language.
    """
    return _environment(package, lambda value: value if isinstance(value, Raw) else escape(str(value)), **marks)


class Raw(str):
    """A string in the language of its template."""


def _environment(package: str, finalize: Callable[[Any], Any], **marks: Any) -> Environment:
    loaders = [PackageLoader(name) for name in dict.fromkeys([package, OWN])]
    return Environment(
        loader=ChoiceLoader(loaders),
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **marks,
    )
