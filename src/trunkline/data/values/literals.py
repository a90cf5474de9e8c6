"""Lists and objects that are written as text in a cell, as JSON, Python and numpy spell them, read without running anything.

``["joy", "calm"]``, ``['joy', 'calm']``, ``('joy', 'calm')``, ``{'joy', 'calm'}``, ``['joy' 'calm']``, ``[0. 1. 0.]``,
``array(['joy'], dtype=object)``, ``[np.str_('joy')]``, ``[{"start": 0, "end": 3, "label": "x"}]``.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from typing import Any

LONGEST = 1 << 20  # characters of what is not JSON: Python's parser takes much memory for a character
_OPENS = re.compile(r"\s*(?:[\[{(]|(?:frozen)?set\(|(?:np\.|numpy\.)?array\()")
_STRING = re.compile(r"""[bu]?(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""", re.DOTALL)
_WORDS = re.compile(r"\b(?:nan|NaN|null|NA|None)\b|<NA>")
_TRUTH = re.compile(r"(?:\b(?:np|numpy)\.)?\b(true|false|True|False)_?\b")
_CALL = re.compile(
    r"(?:\b(?:np|numpy)\.)?\b(?:array|frozenset|str_|bool_|bool|u?int[0-9]*|float[0-9]*)\(([^()]*?)(?:,\s*dtype=[^()\[\]]*)?\)"
)
_BETWEEN = re.compile(r"(?<=[\w.\x02\]})])\s+(?=[\w.\x01\[{(+-])")  # of numpy: no mark but blanks between values


def opens(text: str) -> bool:
    """Whether `text` begins as a list or an object does."""
    return _OPENS.match(text) is not None


def read_literal(text: str) -> list | dict | None:
    """Return the list or the object that `text` spells, None if it spells neither.

    Tuples and sets are lists, sets sorted. Strings side by side are values of their own, as numpy writes them, and not one.
    """
    if not opens(text):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = _python(text)
    return found if isinstance(found, list | dict) else None


def _python(text: str) -> Any:
    """The value of a Python literal, or of an array as numpy prints it; None where it is neither."""
    if len(text) > LONGEST or re.search("[\x00-\x02]", text):
        return None
    strings: list[str] = []

    def hold(match: re.Match[str]) -> str:
        strings.append(match[0])
        return f"\x01{len(strings) - 1}\x02"

    frame = _STRING.sub(hold, text)  # what is within quotes is out of the way
    if "\x02\x01" in frame or "..." in frame:  # 'it''s': two strings for Python, one for SQL; an array that is cut short
        return None
    frame = _WORDS.sub("None", _TRUTH.sub(lambda match: match[1].title(), frame))
    frame = re.sub(r"\b(?:frozen)?set\(\)", "[]", frame)
    while (shorter := _CALL.sub(r"\1", frame)) != frame:
        frame = shorter
    frame = _BETWEEN.sub(", ", frame)
    source = re.sub("\x01([0-9]+)\x02", lambda match: strings[int(match[1])], frame)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a backslash that escapes nothing
            return _plain(ast.literal_eval(source.strip()))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return sorted((_plain(part) for part in value), key=str)
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return {key: _plain(part) for key, part in value.items()} if isinstance(value, dict) else value
