"""Texts that a program gives as lists of words: joined by blanks, with the place of each word, and tags for these words."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from trunkline.data.corpus import Unit


def is_words(given: Any) -> bool:
    """Whether a text is given as its words: a list, a tuple or an array."""
    return isinstance(given, list | tuple | np.ndarray)


def joined(words: Sequence[Sequence[str]]) -> tuple[list[str], list[list[Unit]]]:
    """Return texts of words with blanks between, and where each word lies."""
    units: list[list[Unit]] = []
    for own in words:
        ends = np.cumsum([len(word) + 1 for word in own], dtype=int).tolist()
        units.append([(end - 1 - len(word), end - 1) for word, end in zip(own, ends, strict=True)])
    return [" ".join(own) for own in words], units


def tags_of(spans: Iterable[Mapping[str, Any]], units: Sequence[Unit]) -> list[str]:
    """Return a tag in IOB2 for each word, of spans of characters as a token task predicts them."""
    tags, starts = ["O"] * len(units), [start for start, _ in units]
    for span in spans:
        mark = "B"
        for place in range(bisect_left(starts, span["start"]), len(units)):  # of many words only those that lie there
            start, end = units[place]
            if end > span["end"]:
                break
            if start < end:
                tags[place], mark = f"{mark}-{span['label']}", "I"
    return tags
