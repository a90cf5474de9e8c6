"""Other spellings of a token than that of its text: those of the Penn Treebank, and why tokens may not be in their text."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence

# The Penn Treebank's tokens (Marcus et al. 1993) for what a text may hold instead.
_PENN = {
    "``": ('"', "\u201c"),
    "''": ('"', "\u201d"),
    "`": ("'", "\u2018"),
    "'": ("\u2019",),
    "-LRB-": ("(",),
    "-RRB-": (")",),
    "-LSB-": ("[",),
    "-RSB-": ("]",),
    "-LCB-": ("{",),
    "-RCB-": ("}",),
    "--": ("\u2013", "\u2014"),
    "...": ("\u2026",),
}
_LOOKED_AT = 2000  # rows
_MOST = 0.8  # of the rows that a reason must explain


def spellings(word: str) -> tuple[str, ...]:
    """Return a token as it is, and what it stands for in the spelling of the Penn Treebank."""
    if word in _PENN:
        return (word, *_PENN[word])
    if "\\/" in word or "\\*" in word:
        return (word, word.replace("\\/", "/").replace("\\*", "*"))
    if "'" in word:
        return (word, word.replace("'", "\u2019"))
    return (word,)


def likely_reason(rows: Sequence[tuple[Sequence[str], str]]) -> str:
    """Return why the tokens of rows are not in their texts, as the end of a sentence; "" where no reason explains most rows.

    Args:
        rows: tokens and text, each pair one where a token was not found.
    """
    looked = [(tokens, text) for tokens, text in rows[:_LOOKED_AT] if tokens and text]
    for make, said in _REASONS:
        explained = sum(_in_order([make(token) for token in tokens], make(text)) for tokens, text in looked)
        if looked and explained >= _MOST * len(looked):
            return said
    return ""


def _in_order(tokens: Sequence[str], text: str) -> bool:
    position = 0
    for token in tokens:
        at = text.find(token, position)
        if at < 0:
            return False
        position = at + len(token)
    return True


def _whole_words(token: str) -> str:
    return token.removeprefix("##").removeprefix("\u2581").removeprefix("\u0120")


_REASONS: tuple[tuple[Callable[[str], str], str], ...] = (
    (str.casefold, "they are in it if upper and lower case are taken for the same"),
    (lambda token: _whole_words(token).casefold(), "they are word pieces of a tokenizer, expected whole words"),
    (lambda text: unicodedata.normalize("NFKC", text), "they are in it in another form of Unicode (NFC, NFD or NFKC)"),
)
