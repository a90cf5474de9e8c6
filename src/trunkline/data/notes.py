"""Counts of what a reader leaves out, merges or changes on the way from a file to a table, as sentences for its findings."""

from __future__ import annotations

from collections import Counter


class Notes:
    """Sentences with counts, in the order in which they first came up."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, sentence: str, noun: str, number: int = 1) -> None:
        """Count `number` more of what a sentence is about.

        Args:
            sentence (str): with ``{}`` where the count and its noun stand: ``"{} left out: the answer is 'reject'."``
            noun (str): in the singular, with a regular plural.
        """
        self._counts[sentence, noun] += number

    def say(self, sentence: str) -> None:
        """Note a sentence that has no count of its own."""
        self._counts[sentence, ""] = 1

    @property
    def sentences(self) -> tuple[str, ...]:
        """One sentence for each thing noted."""
        return tuple(sentence.format(counted(n, noun)) if noun else sentence for (sentence, noun), n in self._counts.items())


def counted(number: int, noun: str) -> str:
    """Return ``"1 row"`` or ``"1,200 rows"``."""
    return f"{number:,} {noun if number == 1 else noun + 's'}"
