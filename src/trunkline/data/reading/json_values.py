"""The JSON values in a file, as a stream: one a line, one after the other over several lines, or the items of one array."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from trunkline.data.reading.lines import read_blocks, read_lines
from trunkline.data.reading.tolerant import Tolerant, not_utf8
from trunkline.errors import BadInput

Value = tuple[int, Any]  # the line on which a JSON value begins, and what it is; a BadInput for a line that is none
LINES = 10  # from which it is told that a file has a value a line though its first line is none
_BLANK = " \t\r\n"
_DECODER = json.JSONDecoder()


def json_values(path: Path, source: str, tolerant: Tolerant | None = None) -> Iterator[Value]:
    """Yield the values of a JSON file.

    A file whose first line is a whole value has one on each line. Otherwise values follow one another, or are the items of an
    array. Memory is that of a value or a block, whatever the size of the file.

    Args:
        path: of the file.
        source: how messages name it.
        tolerant: where it is given, the value of a broken line is its error; what is broken in other layouts is raised.

    Raises:
        BadInput: with line and column, what is no JSON.
    """
    layout = layout_of(path, source, tolerant)
    if layout == "lines":
        yield from values_of_lines(read_lines(path, source, tolerant=tolerant), source, tolerant is not None)
    else:
        yield from _Stream(path, source).items() if layout == "array" else _Stream(path, source).values()


def layout_of(path: Path, source: str, tolerant: Tolerant | None = None) -> Literal["array", "values", "lines"]:
    """How values stand in a JSON file, told from its beginning: as items of an array, one after the other, or one a line."""
    start = next(read_blocks(path, source, tolerant=tolerant), "").lstrip(_BLANK)
    opening = "".join(start[:10_000].split())[:2]
    if opening[:1] == "[" and opening[1:] in ("", "{", "[", "]"):
        return "array"
    if opening[:1] == "{" and not _whole(start.partition("\n")[0]) and not (tolerant and _begins_broken(start, path, source)):
        return "values"
    return "lines"


def values_of_lines(lines: Iterable[tuple[int, str]], source: str, tolerant: bool) -> Iterator[Value]:
    """Yield the value of each line that is not blank.

    Args:
        lines: numbers and texts.
        source: how messages name their file.
        tolerant: the value of a broken line is its error; otherwise it is raised.
    """
    for number, line in lines:
        if line.isspace():
            continue
        where, value = f"{source} line {number}", None
        try:
            value = (not_utf8(line, where) if tolerant else None) or _parse(line, where)
        except BadInput as error:
            if not tolerant:
                raise
            value = error
        yield number, value


def _begins_broken(start: str, path: Path, source: str) -> bool:
    """Whether a file whose first line is no value has one a line all the same: nothing begins there that goes on below."""
    if not any(line.startswith("{") and _whole(line) for line in start.split("\n")[1:LINES]):
        return False
    try:
        list(islice(_Stream(path, source).values(), LINES))
    except BadInput:
        return True
    return False


def _whole(line: str) -> bool:
    try:
        json.loads(line)
    except json.JSONDecodeError:
        return False
    except (ValueError, RecursionError):  # said where it is read
        return True
    return True


def _error_of(text: str) -> json.JSONDecodeError | None:
    """What is wrong with a line without its end: where something is missing there, the error is of its last character."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return error
    return None


def _parse(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        error = _error_of(line.rstrip(_BLANK)) or error
        cut = error.pos >= len(line.rstrip(_BLANK))
        raise BadInput(
            f"{where} column {error.colno}: broken JSON ({_why(error.msg, 'line', cut)}), expected one JSON object a "
            f"line{_hint(error.msg)}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise _unreadable(where, error) from None


# What the json module says, as it is said in a message; by the beginning of its own words.
_REASONS = {
    "Expecting value": "a value is missing",
    "Expecting property name": "a key is missing",
    "Expecting ':'": "a colon is missing after a key",
    "Expecting ','": "a comma is missing between two values",
    "Illegal trailing comma": "a comma stands before a closing bracket",
    "Extra data": "something follows the value",
    "Invalid control character": "a tab or another control character in a string",
    "Invalid \\": "a backslash in a string that begins no escape",
}


def _why(message: str, unit: str, ends: bool) -> str:
    """What is wrong with a JSON text, in words; `unit` is what ends there, where it `ends` too early."""
    if message.startswith("Unterminated string"):
        return f"the {unit} ends inside a string"
    if ends:
        return f"the {unit} ends too early"
    return next((said for own, said in _REASONS.items() if message.startswith(own)), message)


def _hint(message: str) -> str:
    return ", with double quotes as json.dumps writes them" if "double quotes" in message else ""


def _unreadable(where: str, error: Exception) -> BadInput:
    """For numbers of thousands of digits and thousands of nested brackets."""
    return BadInput(f"{where}: JSON that cannot be read ({type(error).__name__}), expected one JSON object a line")


class _Stream:
    """A JSON text of which a window is in memory: what was read and not yet parsed."""

    def __init__(self, path: Path, source: str) -> None:
        self.source, self.blocks = source, read_blocks(path, source)
        self.text, self.position = "", 0
        self.line, self.column = 1, 0  # of the beginning of the window: lines from 1, characters of its line before it

    def values(self) -> Iterator[Value]:
        """Values one after the other."""
        while self.peek():
            yield self.value()

    def items(self) -> Iterator[Value]:
        """The items of one array; nothing may follow it."""
        self.peek()
        self.position += 1
        if self.peek() != "]":
            yield self.value()
            while self.peek() == ",":
                self.position += 1
                self.peek()
                yield self.value()
            if self.peek() != "]":
                raise self.broken("expected ',' or ']'")
        self.position += 1
        if self.peek():
            raise self.broken("something follows the array")

    def peek(self) -> str:
        """Go to the next character that is not blank and return it; "" at the end."""
        while True:
            while self.position < len(self.text) and self.text[self.position] in _BLANK:
                self.position += 1
            if self.position < len(self.text):
                return self.text[self.position]
            if not self.more(1):
                return ""

    def more(self, blocks: int) -> bool:
        """Forget what was parsed and read further; whether there was anything."""
        self.line, self.column = self.place(self.position)
        added = "".join(islice(self.blocks, blocks))
        self.text, self.position = self.text[self.position :] + added, 0
        return added != ""

    def place(self, position: int) -> tuple[int, int]:
        """Line, from 1, and the number of characters before it on that line, of a position in the window."""
        line = self.line + self.text.count("\n", 0, position)
        end = self.text.rfind("\n", 0, position)
        return line, position - end - 1 if end >= 0 else self.column + position

    def value(self) -> Value:
        """Parse the value that begins at the current position."""
        blocks = 1
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.position)
            except json.JSONDecodeError as error:
                # Near the end of the window, or in a string without an end, it may only be cut off.
                cut = error.pos > len(self.text) - 16 or error.msg.startswith("Unterminated string")
                offset = error.pos - self.position
                if cut and self.more(blocks):
                    blocks *= 2
                    continue
                raise self.broken(error.msg, self.position + offset) from None
            except (ValueError, RecursionError) as error:
                raise _unreadable(f"{self.source} line {self.place(self.position)[0]}", error) from None
            line = self.place(self.position)[0]
            self.position = end
            return line, value

    def broken(self, message: str, position: int | None = None) -> BadInput:
        line, column = self.place(self.position if position is None else position)
        where = f"{self.source} line {line} column {column + 1}"
        ends = position is not None and position >= len(self.text.rstrip(_BLANK))
        return BadInput(f"{where}: broken JSON ({_why(message, 'file', ends)}), expected JSON objects{_hint(message)}")
