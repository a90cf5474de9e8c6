"""What a program gives a bundle to predict, checked: texts, second texts, and the spans of their words."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

from trunkline.data.clips import EXPECTED as CLIP
from trunkline.data.clips import Clip
from trunkline.data.corpus import Unit
from trunkline.data.empty import is_blank
from trunkline.data.formats import format_of
from trunkline.data.memory import is_table_like
from trunkline.data.values.missing import is_missing
from trunkline.errors import BadInput, unknown_name
from trunkline.model.words import is_words, joined

FILE_NAME = "found the name of a data file, whose characters are read as a text; `trunkline predict` reads files"
LONGEST = 10**12  # a text has fewer characters; larger numbers are not repeated

EmptyTexts = Literal["skip", "refuse", "read"]


class OfTexts(BadInput):
    """What is wrong with the texts, the second texts or the units that were given, or with one of them.

    Args:
        what: "texts", "pairs" or "units".
        row: of which text, from 0; None: all, or the only one.
        within: the place in it, as Python and JSON address it, such as "[3]".
        words: as of BadInput, without a key.

    A caller that has other names for these says so by `at`.
    """

    def __init__(self, what: str, row: int | None = None, within: str = "", **words: str) -> None:
        each = {"texts": "text", "pairs": "second text", "units": ""}[what]
        super().__init__(**words, key=f"{what}{within}" if row is None else _place(what, each, row, within))
        self.what, self.row, self.within = what, row, within


@dataclass(frozen=True)
class Asked:
    """What a bundle is to read: texts (or audio clips), second texts and the units of each; `alone` if it was one text and no
    list, `words` if texts were lists of words.

    empty (Mapping[bool, frozenset[int]]): the texts (from 0) that are skipped, as they are blank, and where second texts are
        read too (True), those without one of both.
    """

    texts: list[str]
    pairs: list[str] | None
    units: list[list[Unit]] | None
    alone: bool
    empty: Mapping[bool, frozenset[int]]
    words: bool = False


def asked(
    texts: Any,
    pairs: Any,
    units: Any,
    check_pairs: Callable[[bool], None],
    empty_texts: EmptyTexts = "skip",
    reads_words: bool = False,
    audio: bool = False,
) -> Asked:
    """Check what a program asks to predict.

    Args:
        texts: one text, or several; or lists of words; or one audio clip, or several.
        pairs: one second text, or several; None where there are none.
        units: of the words of one text, or of several; None where they are to be found.
        check_pairs: told whether there are second texts; raises BadInput where they are missing or not read.
        empty_texts: whether blank texts are skipped, refused, or read as any other.
        reads_words: whether a branch answers for words, so that a text may be given as a list of them.
        audio: whether the trunk reads audio.

    Raises:
        BadInput: one sentence for what does not fit.
    """
    if audio:
        return _asked_clips(texts, pairs, units, check_pairs)
    if empty_texts not in (known := get_args(EmptyTexts)):
        raise unknown_name("empty_texts", empty_texts, known)
    alone = isinstance(texts, str)
    if alone:
        if not (pairs is None or isinstance(pairs, str)):
            raise BadInput(f"pairs: found {type(pairs).__name__} with one text, expected one string")
        texts, pairs, units = [texts], None if pairs is None else [pairs], None if units is None else [units]
    if isinstance(pairs, str):
        raise BadInput("pairs: found one string with a list of texts, expected a list of the same length")
    texts, units, words = texts_and_units(texts, units, reads_words)
    check_pairs(pairs is not None)
    if pairs is not None:
        pairs = texts_of("pairs", "second text", pairs)
        if len(pairs) != len(texts):
            raise BadInput(f"pairs: found {len(pairs)} for {len(texts)} texts, expected one for each")
    spans = None if units is None else units_of(units, texts, alone)
    return Asked(texts, pairs, spans, alone, _empty(texts, pairs, empty_texts), words)


def _asked_clips(given: Any, pairs: Any, units: Any, check_pairs: Callable[[bool], None]) -> Asked:
    if units is not None:
        raise BadInput("units: found spans, expected none, as clips have no words")
    check_pairs(pairs is not None)
    alone = is_clip(given)
    nothing: Mapping[bool, frozenset[int]] = {False: frozenset(), True: frozenset()}
    return Asked(list(clips_of([given] if alone else given)), None, None, alone, nothing)


def clips_of(given: Any) -> list[Clip]:
    """Return several clips, in order; BadInput for what is none."""
    if is_table_like(given):
        raise BadInput(f"texts: found {type(given).__name__}, expected a list of clips, such as one of its columns")
    try:
        several = list(given)
    except TypeError:
        raise BadInput(f"texts: found {type(given).__name__}, expected {CLIP}, or a list of these") from None
    return [Clip.of(one, _place("texts", "clip", row)) for row, one in enumerate(several)]


def is_clip(given: Any) -> bool:
    """Whether what a program gives is one clip and no list of clips."""
    if isinstance(given, str | PathLike | Mapping):
        return True
    kind = getattr(getattr(given, "dtype", None), "kind", "f")  # torch's dtypes have none
    return getattr(given, "ndim", None) == 1 and kind in "iuf"


def names_a_file(text: str) -> bool:
    """Whether a single text is the path of a data file that is there."""
    if "\n" in text or len(text) > 1000:
        return False
    try:
        return format_of(Path(text)) is not None and Path(text).is_file()
    except (OSError, ValueError):  # what the system takes for no path
        return False


def _empty(texts: list[str], pairs: list[str] | None, how: EmptyTexts) -> dict[bool, frozenset[int]]:
    """The rows that are skipped, by whether second texts are read too."""
    blank, second = (
        frozenset(row for row, text in enumerate(some or ()) if is_blank(text)) if how != "read" else frozenset[int]()
        for some in (texts, pairs)
    )
    if how == "refuse" and (blank or second):
        what, rows = ("texts", blank) if blank else ("pairs", second)
        raise OfTexts(what, min(rows), found="a blank string", expected="a text")
    return {False: blank, True: blank | second}


def texts_and_units(texts: Any, units: Any, reads_words: bool) -> tuple[list[str], Any, bool]:
    """Return several texts, the units that were given or that lists of words are, and whether it was such lists."""
    rows = _listed("texts", texts, "a string or a list of strings")
    first = next((row for row, text in enumerate(rows) if is_words(text)), None)
    if first is None:
        return _strings("texts", "text", rows), units, False
    if not reads_words:
        expected = "a string, as no task that is asked tags words; such a task reads lists of words, too"
        raise OfTexts("texts", first, found=type(rows[first]).__name__, expected=expected)
    if units is not None:
        raise BadInput("units: found spans beside texts that are lists of words, expected none")
    return (*joined(_word_lists(rows)), True)


def _word_lists(rows: list[Any]) -> list[list[str]]:
    """Return lists of words, one for each text; BadInput for a text or a word that is none."""
    for row, words in enumerate(rows):
        if not is_words(words):
            raise OfTexts("texts", row, found=type(words).__name__, expected="a list of words as other texts are")
        for place, word in enumerate(words):
            if not isinstance(word, str):
                raise OfTexts("texts", row, f"[{place}]", found=type(word).__name__, expected="a string, one word")
    return [[str(word) for word in words] for words in rows]


def texts_of(what: str, each: str, given: Any) -> list[str]:
    """Return the texts that `given` holds in order; `what` and `each` are how a message calls them and one of them."""
    return _strings(what, each, _listed(what, given, "a string or a list of strings"))


def units_of(given: Any, texts: list[str], alone: bool = False) -> list[list[Unit]]:
    """Return the spans of the words of each text, as lists of pairs of int; `given` may hold arrays. Those of a text that was
    given `alone` are called as if they were no list of lists.
    """
    rows = _listed("units", given, "a list of spans for each text")
    if len(rows) != len(texts):
        raise BadInput(f"units: found {len(rows)} lists of spans, expected one for each of {len(texts)} texts")
    return [_spans(None if alone else row, *each) for row, each in enumerate(zip(rows, texts, strict=True))]


def _spans(row: int | None, given: Any, text: str) -> list[Unit]:
    expected = "pairs of first character and end, as whole numbers"
    spans: list[Unit] = []
    reached = 0
    for place, pair in enumerate(_listed("units" if row is None else f"units[{row}]", given, expected)):
        try:
            start, end = map(operator.index, pair)
        except (TypeError, ValueError):
            raise OfTexts("units", row, f"[{place}]", found=type(pair).__name__, expected=expected) from None
        if not reached <= start <= end <= len(text):
            found = f"({start}, {end})" if max(abs(start), abs(end)) < LONGEST else "a number beyond any text"
            lies = f"{reached} <= start <= end <= {len(text)}"
            raise OfTexts("units", row, f"[{place}]", found=found, expected=lies)
        spans.append((start, end))
        reached = end
    return spans


def _listed(where: str, given: Any, expected: str) -> list[Any]:
    """What can be gone through in an order of its own, row by row."""
    if is_table_like(given):
        raise BadInput(f"{where}: found {type(given).__name__}, expected {expected}, such as one of its columns")
    if not isinstance(given, str | bytes | bytearray | Mapping | Set):
        try:
            return given.to_pylist() if hasattr(given, "to_pylist") else list(given)  # Arrow's values are no strings
        except TypeError:
            pass
    raise BadInput(f"{where}: found {type(given).__name__}, expected {expected}")


def _place(what: str, each: str, row: int, within: str = "") -> str:
    """How messages name a text, counted from 0: by its number, if it is called `each`, and as Python does."""
    exact = f"{what}[{row}]{within}"
    return f"{each} {row + 1} ({exact})" if each else exact


def _strings(what: str, each: str, texts: list[Any]) -> list[str]:
    for row, text in enumerate(texts):
        if isinstance(text, str):
            continue
        if not is_missing(text):
            raise BadInput(f"{_place(what, each, row)}: found {type(text).__name__}, expected a string")
        found = "NaN" if isinstance(text, float) else str(text)
        others = sum(map(is_missing, texts)) - 1
        more = f" (and {others:,} more missing value{'s' * (others > 1)})" if others else ""
        raise BadInput(
            f"{_place(what, each, row)}: found {found}{more}, expected a string; an empty string stands for a missing text "
            "(fillna('') of a Series puts it there)"
        )
    return texts
