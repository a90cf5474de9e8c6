"""Character offsets from offsets that are counted in other units, and which way of counting some offsets seem to use.

Python counts code points. JavaScript and Java count UTF-16 code units, of which a character beyond U+FFFF (most emoji) has two;
Go, Rust and C count bytes of UTF-8.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Any, Literal

Counted = Literal["characters", "utf-16", "bytes"]
Span = tuple[int, int, str]  # start, end exclusive, label
Unit = tuple[int, int]

MENDED, KEPT = 0.8, 0.95  # of the spans off word edges, and of those on them, what a way of counting must put on word edges
ENOUGH = 2000  # texts that are looked at

_SIZES: dict[str, Callable[[str], int]] = {
    "utf-16": lambda character: 1 + (character > "\uffff"),
    "bytes": lambda character: len(character.encode("utf-8", "surrogatepass")),
    "line ends of two": lambda character: 1 + (character == "\n"),
    "line ends of one": lambda character: int(character != "\r"),
}


def in_characters(spans: Sequence[Span], text: str, counted: str) -> list[Span]:
    """Return spans, whose offsets are `counted` in some unit, with offsets in characters of `text`.

    An offset within a character takes in the whole character. What lies beyond the text still does.
    """
    if counted == "characters" or (text.isascii() and counted in ("utf-16", "bytes")):
        return list(spans)
    edges = list(accumulate(map(_SIZES[counted], text), initial=0))  # where each character begins, and the end

    def begin(at: int) -> int:
        return at if at < 0 else bisect_right(edges, at) - 1 if at < edges[-1] else len(text) + at - edges[-1]

    def end(at: int) -> int:
        return at if at < 0 else bisect_left(edges, at) if at <= edges[-1] else len(text) + at - edges[-1]

    return [(begin(first), end(last), label) for first, last, label in spans]


def quoted_in_characters(rows: Iterable[tuple[Sequence[Any], str]], counted: str) -> bool:
    """Whether spans that quote their own text, as those of `predict` do, show that their offsets count characters.

    Args:
        rows: the spans of each text, as objects, and the text.
        counted: the unit that the offsets are said to be counted in: more of the quotations must stand elsewhere with it.
    """
    right = wrong = 0
    for spans, text in rows:
        if text.isascii():
            continue
        for span in spans:
            if isinstance(span, dict) and isinstance(quoted := span.get("text"), str):
                start, end = span.get("start"), span.get("end")
                if type(start) is not int or type(end) is not int:
                    continue
                ((first, last, _),) = in_characters([(start, end, "")], text, counted)
                right += text[start:end] == quoted
                wrong += text[first:last] == quoted
    return right > wrong


def _shifted(start: int, end: int) -> Callable[[Sequence[Span], str], list[Span]]:
    return lambda spans, text: [(first + start, last + end, label) for first, last, label in spans]


def _counted(how: str) -> Callable[[Sequence[Span], str], list[Span]]:
    return lambda spans, text: in_characters(spans, text, how)


# Ways of counting that annotation tools are known for, each as the end of "the spans are on word edges if", with the way out.
_WAYS: tuple[tuple[Callable[[Sequence[Span], str], list[Span]], str], ...] = (
    (_counted("utf-16"), "their offsets count UTF-16 code units: `offsets: utf-16` in the task reads them so"),
    (_counted("bytes"), "their offsets count bytes of UTF-8: `offsets: bytes` in the task reads them so"),
    (_counted("line ends of two"), "a line end counts as two characters, as \\r\\n does"),
    (_counted("line ends of one"), "\\r\\n counts as one character"),
    (_shifted(0, 1), "their end is the last character, where the one after it is expected: add 1 to ends"),
    (_shifted(-1, 0), "the first character is number 1 and ends are inclusive: subtract 1 from starts"),
    (_shifted(-1, -1), "the first character is number 1: subtract 1 from starts and ends"),
    (_shifted(1, 1), "1 is added to starts and ends"),
)


def likely_cause(rows: Iterable[tuple[Sequence[Span], str, Sequence[Unit]]]) -> str | None:
    """Return, as the end of "the spans are on word edges if", the way of counting in which those that are off them are on them.

    Each way is tried on the data: it must put nearly all spans on word edges, those that are on them as given included.

    Args:
        rows: the spans, the text and the words of each text.
    """
    looked = [row for _, row in zip(range(ENOUGH), (row for row in rows if row[0]), strict=False)]
    given = [_on_edges(spans, units) for spans, _, units in looked]
    right = sum(map(sum, given))
    wrong = sum(map(len, given)) - right
    if not wrong:
        return None
    fitting: list[tuple[int, int, str]] = []  # spans on word edges, and how far all have moved
    for way, said in _WAYS:
        mended = kept = moved = 0
        for (spans, text, units), before in zip(looked, given, strict=True):
            changed = way(spans, text)
            after = _on_edges(changed, units)
            mended += sum(now and not then for then, now in zip(before, after, strict=True))
            kept += sum(now and then for then, now in zip(before, after, strict=True))
            moved += sum(abs(a[0] - b[0]) + abs(a[1] - b[1]) for a, b in zip(spans, changed, strict=True))
        if mended >= MENDED * wrong and kept >= KEPT * right:
            fitting.append((mended + kept, -moved, said))
    return max(fitting, key=lambda one: one[:2])[2] if fitting else None  # the first of those that are equal


def _on_edges(spans: Sequence[Span], units: Sequence[Unit]) -> list[bool]:
    """Whether each span begins where a word does and ends where one does."""
    begins, ends = {start for start, _ in units}, {end for _, end in units}
    return [start in begins and end in ends and start < end for start, end, _ in spans]
