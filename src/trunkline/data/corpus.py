"""A table seen as texts, and the words (units) of each text that tags belong to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, NamedTuple

import regex

from trunkline.data import columns
from trunkline.data.clips import clips
from trunkline.data.table import Table
from trunkline.data.values.token_spelling import likely_reason, spellings
from trunkline.errors import BadInput

Unit = tuple[int, int]  # character span, end exclusive

_CJK = r"[\p{Han}\p{Hiragana}\p{Katakana}]"
_WORD = rf"(?:(?!{_CJK})[\p{{L}}\p{{M}}\p{{N}}_\u200c\u200d])+"  # with combining marks and joiners: they do not end a word
WORDS = rf"{_CJK}|{_WORD}(?:['\u2019]{_WORD})*|(?!\s)\X"  # what `segment` finds, as the regex library and Oniguruma read it
_UNIT = regex.compile(WORDS)


class View(NamedTuple):
    """The columns that are read of a table; None for what is not read. Where it is `audio`, `text` is that of the clips."""

    text: str | None
    text_pair: str | None
    tokens: str | None
    audio: bool = False

    @property
    def what(self) -> str:
        """What messages call a value of `text`."""
        return "audio clip" if self.audio else "text"


@dataclass(frozen=True)
class Corpus:
    """Texts in row order, ready to be tokenised.

    texts (list[str]): lone surrogates are replaced by U+FFFD, so lengths and offsets are those of the source; of audio, clips.
    pairs (list[str] | None): the second text of a sentence pair.
    units (list[list[tuple[int, int]]] | None): character spans, end exclusive, of the words of each text.
    read_from (tuple[Hashable, ...] | None): the columns of texts and tokens that texts and units were made from, and how.
    respelled (tuple[int, ...]): rows with tokens that were found in the text in another spelling.
    apart (tuple[int, ...]): rows with tokens that are not in the text.
    """

    table: Table
    texts: list[str]
    pairs: list[str] | None = None
    units: list[list[Unit]] | None = None
    read_from: tuple[Hashable, ...] | None = None
    respelled: tuple[int, ...] = ()
    apart: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.texts)

    def holding(self, columns: dict[str, list], strings: Collection[str] = ()) -> Corpus:
        """The same texts with these columns beside them, each with a value for every text; `strings` as of a table."""
        own = self.table
        table = Table(own.source, columns, own.lines, own.files, own.rows, strings=frozenset(strings))
        return Corpus(table, self.texts, self.pairs, self.units)

    def select(self, rows: Sequence[int]) -> Corpus:
        """Some of the texts, in this order, with their rows of the table."""

        def pick(values: list[Any]) -> list[Any]:
            return [values[row] for row in rows]

        pairs, units = (None if values is None else pick(values) for values in (self.pairs, self.units))
        return Corpus(self.table.select(rows), pick(self.texts), pairs, units, self.read_from)

    def parsed(self, key: Hashable, parse: Callable[[], list]) -> list:
        """`Table.parsed` for what depends on texts and units too."""
        return parse() if self.read_from is None else self.table.parsed((key, self.read_from), parse)

    def findings(self) -> list[str]:
        """Return, a sentence each, what was odd when tokens were looked up in the texts."""
        found = []
        if self.respelled:
            found.append(
                f"{_texts(len(self.respelled))} tokens in the spelling of the Penn Treebank (``, -LRB-), which were found as "
                f"what they stand for; the first is {self.table.where(self.respelled[0])}."
            )
        if self.apart:
            text, tokens, keep_text = (*(self.read_from or ()), None, None, None)[:3]
            instead = "the words of the text" if keep_text else "the tokens joined by blanks"
            said = f"{_texts(len(self.apart))} tokens that are not in the text: {instead} are read instead"
            given, words = self.table.columns[str(text)], self.table.columns[str(tokens)]
            reason = likely_reason([(words[row], given[row]) for row in self.apart])
            found.append(f"{said}; the first is {self.table.where(self.apart[0])}{reason and f'; {reason}'}.")
        return found


def _texts(count: int) -> str:
    return "1 text has" if count == 1 else f"{count:,} texts have"


def segment(text: str) -> list[Unit]:
    """Divide a text into words, single punctuation marks and single CJK characters; blanks belong to none.

    Apostrophes and underscores within a word are part of it (``I'd``, ``turn_down``). Scripts without spaces other than
    Chinese and Japanese (Thai, Lao, Khmer) come out as one word between blanks.
    """
    return [match.span() for match in _UNIT.finditer(text)]


def build_corpus(
    table: Table,
    *,
    text: str | None,
    text_pair: str | None = None,
    tokens: str | None = None,
    units: bool = False,
    keep_text: bool = False,
    audio: bool = False,
) -> Corpus:
    """See a table as texts.

    Args:
        table (Table): the rows.
        text (str | None): the column of the texts; may be None where `tokens` is given.
        text_pair (str | None): the column of the second texts.
        tokens (str | None): a column of token lists, which become the units: each token is looked up in the text in
            order. Where that fails, or with no text column, the tokens joined by blanks are the text. A row whose
            token list is missing is divided by `segment`.
        units (bool): whether units are wanted without `tokens`; `segment` makes them.
        keep_text (bool): where tokens are not in the text, keep the text and divide it by `segment`.
        audio (bool): `text` is a column of audio clips.

    Raises:
        BadInput: a column that is not there, a value of another type, a row with no text.
    """
    if audio:
        if tokens is not None or units:
            raise BadInput(f"{table.source}: found audio clips and a task that tags words, expected a task about whole clips")
        return Corpus(table, list(clips(table, text or "")), None, None, ("clips", text))
    if text is None and tokens is None:
        raise BadInput(f"{table.source}: no column of texts was named, expected a text column or a tokens column")
    pairs = None if text_pair is None else columns.texts(table, text_pair, "data.text_pair")
    if tokens is None:
        texts = columns.texts(table, text or "")
        made = table.parsed(("units", text), lambda: [segment(one) for one in texts]) if units else None
        return Corpus(table, texts, pairs, made, (text, None))
    lists = columns.token_lists(table, tokens)
    given = [None] * len(table) if text is None else columns.optional_texts(table, text)

    def parse() -> list[tuple[str, list[Unit], str]]:
        rows: list[tuple[str, list[Unit], str]] = []
        for row, (words, value) in enumerate(zip(lists, given, strict=True)):
            if words is None and value is None:
                where = table.where(row)
                raise BadInput(
                    f"{where}: no text, expected a string in {table.named(text or '')} or a list in {table.named(tokens)}"
                )
            if value is None or (words and not value.strip()):
                rows.append((" ".join(words or []), _joined(words or []), ""))
            elif words is None:
                rows.append((value, segment(value), ""))
            elif (found := look_up(words, value)) is not None:
                rows.append((value, found, "" if all(map(_is, words, found, repeat(value))) else "respelled"))
            elif keep_text:
                rows.append((value, segment(value), "apart"))
            else:
                rows.append((" ".join(words), _joined(words), "apart"))
        return rows

    rows = table.parsed(("texts and units", text, tokens, keep_text), parse)
    respelled, apart = (
        tuple(row for row, (_, _, how) in enumerate(rows) if how == wanted) for wanted in ("respelled", "apart")
    )
    read_from = (text, tokens, keep_text)
    return Corpus(table, [seen for seen, _, _ in rows], pairs, [found for _, found, _ in rows], read_from, respelled, apart)


def look_up(words: list[str], text: str) -> list[Unit] | None:
    """Find each word in the text after the one before it, perhaps in another spelling; None where one is not there."""
    spans, position = [], 0
    for word in words:
        places = [(at, spelled) for spelled in spellings(word) if (at := text.find(spelled, position)) >= 0]
        if not places:
            return None
        start, spelled = min(places, key=lambda place: place[0])
        position = start + len(spelled)
        spans.append((start, position))
    return spans


def _is(word: str, unit: Unit, text: str) -> bool:
    return text.startswith(word, unit[0]) and len(word) == unit[1] - unit[0]


def _joined(words: list[str]) -> list[Unit]:
    """The spans of words in ``" ".join(words)``."""
    spans, position = [], 0
    for word in words:
        spans.append((position, position + len(word)))
        position += len(word) + 1
    return spans
