"""Counts of what a reader leaves out, merges or changes on the way from a file to a table, as sentences for its findings."""

from __future__ import annotations

from collections import Counter, defaultdict

from trunkline.errors import listed

NAMED = 8  # labels that a sentence names at most


class Notes:
    """Sentences with counts, in the order in which they first came up."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._labels: defaultdict[tuple[str, str], dict[str, None]] = defaultdict(dict)

    def add(self, sentence: str, noun: str, number: int = 1, label: str | None = None) -> None:
        """Count `number` more of what a sentence is about.

        Args:
            sentence (str): with ``{}`` where the count and its noun stand: ``"{} left out: the answer is 'reject'."``
            noun (str): in the singular, with a regular plural.
            number (int): how many more.
            label (str | None): of what is counted, to be named.
        """
        self._counts[sentence, noun] += number
        if label is not None:
            self._labels[sentence, noun][label] = None

    def say(self, sentence: str) -> None:
        """Note a sentence that has no count of its own."""
        self._counts[sentence, ""] = 1

    @property
    def sentences(self) -> tuple[str, ...]:
        """One sentence for each thing noted."""
        return tuple(self._sentence(key, number) for key, number in self._counts.items())

    def _sentence(self, key: tuple[str, str], number: int) -> str:
        sentence, noun = key
        said = sentence.format(counted(number, noun)) if noun else sentence
        return f"{said.rstrip('.')} ({listed(list(self._labels[key]), NAMED)})." if self._labels.get(key) else said


def counted(number: int, noun: str) -> str:
    """Return ``"1 row"`` or ``"1,200 rows"``."""
    return f"{number:,} {noun if number == 1 else noun + 's'}"
