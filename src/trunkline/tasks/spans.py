"""Spans out of tag numbers, and how many of them are right, as conlleval counts.

conlleval: the scorer of the CoNLL-2000 and CoNLL-2003 shared tasks (Tjong Kim Sang). A span is right if its first unit,
its last unit and its type are those of a gold span. Tags that break the IOB2 rules are read its way: an I- after O, or
after another type, begins a span.

Tags are numbers here: 0 is O, 2e + 1 is B- and 2e + 2 is I- of entity type e. All arrays are flat over the units of all
texts, with offsets (texts + 1,); everything is vectorised.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spans:
    """Spans in order: entity type, first unit, and one past the last unit, each int64 (spans,)."""

    types: np.ndarray
    first: np.ndarray
    end: np.ndarray


def tag_names(types: list[str]) -> list[str]:
    """Return the tags of these entity types in the order of their numbers: O, B-x, I-x, B-y, ..."""
    return ["O", *(f"{prefix}-{name}" for name in types for prefix in "BI")]


def _begins(tags: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return bool (U,): whether a span begins at a unit."""
    types = (tags - 1) // 2  # -1 for O
    before = np.concatenate([[-1], types[:-1]])
    before[offsets[:-1][offsets[:-1] < len(tags)]] = -1  # nothing goes on from one text into the next
    return (types >= 0) & ((tags % 2 == 1) | (before != types))


def repair(tags: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return tags that keep the IOB2 rules and hold the same spans: an I- that begins a span becomes B-."""
    return np.where(_begins(tags, offsets) & (tags % 2 == 0), tags - 1, tags) if len(tags) else tags


def find_spans(tags: np.ndarray, offsets: np.ndarray) -> Spans:
    """Return the spans of tags (U,) that may break the rules."""
    if len(tags) == 0:
        return Spans(*(np.zeros(0, np.int64) for _ in range(3)))
    tags = tags.astype(np.int64)
    begins = _begins(tags, offsets)
    first = np.flatnonzero(begins)
    # Each unit inside a span lies right behind the one before it, so a span is as long as it has units.
    units = np.bincount(np.cumsum(begins)[tags > 0] - 1, minlength=len(first))
    return Spans((tags[first] - 1) // 2, first, first + units)


def count_spans(gold: Spans, predicted: Spans, n_types: int) -> np.ndarray:
    """Return int64 (types, 3): by type, how many spans are right, predicted and gold."""
    counted = (predicted.types[right_spans(gold, predicted)], predicted.types, gold.types)
    return np.stack([np.bincount(types, minlength=n_types) for types in counted], axis=1)


def right_spans(gold: Spans, predicted: Spans) -> np.ndarray:
    """Return bool (predicted spans,): whether each is a gold span."""
    size = 1 + max((int(spans.first.max(initial=0)) for spans in (gold, predicted)), default=0)
    end, kind = np.full(size, -1), np.full(size, -1)
    end[gold.first], kind[gold.first] = gold.end, gold.types
    return (end[predicted.first] == predicted.end) & (kind[predicted.first] == predicted.types)


def span_scores(scores: np.ndarray, spans: Spans) -> np.ndarray:
    """Return the mean score of the units of each span, fp64 (spans,), at most 1; `scores` (U,) are those of all units."""
    sums = np.concatenate([[0.0], np.cumsum(scores, dtype=np.float64)])
    return np.minimum((sums[spans.end] - sums[spans.first]) / np.maximum(spans.end - spans.first, 1), 1.0)
