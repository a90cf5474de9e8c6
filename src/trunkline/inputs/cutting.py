"""Whole texts, as token ids, cut to a maximum length or divided into windows, with special tokens around: numpy alone.

The tokenizers library cuts by a state kept within the tokenizer (`Tokenizer.enable_truncation`), so that threads that want
different lengths get each other's. The rules here are that library's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trunkline.inputs.encoded import Encoded, offsets_of, ranges

Special = tuple[list[int], list[int]]  # ids and token types of special tokens


@dataclass(frozen=True)
class Cut:
    """How texts become sequences.

    max_length (int): most tokens of a sequence, special ones included.
    windows (bool): divide a text that is longer into windows of which a quarter overlaps, rather than cut it. Each unit
        belongs to the one window where it has most context. Pairs are cut all the same.
    cut (bool): with windows, some tasks read the text as it is cut: where the first window is not what cutting leaves (as the
        tokenizer cuts on the left), the cut text comes before its windows.
    """

    max_length: int
    windows: bool = False
    cut: bool = False


@dataclass(frozen=True)
class Template:
    """What a tokenizer puts around the text, or the two texts, of a sequence, and the token type of each text."""

    before: Special
    between: Special
    after: Special
    types: tuple[int, int]

    @classmethod
    def of(cls, encoding: Any) -> Template:
        """Read it off an `Encoding` of the tokenizers library, of texts that are not empty where there are such."""
        sides, tokens = encoding.sequence_ids, list(zip(encoding.ids, encoding.type_ids, strict=True))
        kinds = {side: kind for (_, kind), side in zip(tokens, sides, strict=True)}
        text = [i for i, side in enumerate(sides) if side is not None] or [len(tokens)]
        inner = [i for i in range(text[0], text[-1]) if sides[i] is None]

        def special(places: Sequence[int]) -> Special:
            return [tokens[i][0] for i in places], [tokens[i][1] for i in places]

        return cls(
            special(range(text[0])),
            special(inner),
            special(range(text[-1] + 1, len(tokens))),
            (kinds.get(0, 0), kinds.get(1, 1)),
        )


@dataclass(frozen=True)
class Tokens:
    """Texts as token ids without special ones, end to end.

    ids: int32 (n,).
    counts: int64 (texts,): tokens of each text.
    spans: int64 (n, 2): the characters of each token, as if the texts lay end to end; None where nobody asks.
    """

    ids: np.ndarray
    counts: np.ndarray
    spans: np.ndarray | None = None


@dataclass(frozen=True)
class _Sequences:
    """Where the tokens of each sequence lie within their texts, and which of them are its own.

    text, begin, count, own_begin, own_end: int64 (S,); of two overlapping windows each owns a part of what they share.
    second: begin and count within the second text, for pairs.
    """

    text: np.ndarray
    begin: np.ndarray
    count: np.ndarray
    own_begin: np.ndarray
    own_end: np.ndarray
    second: tuple[np.ndarray, np.ndarray] | None = None


def cut_tokens(
    cut: Cut,
    room: int,
    first: Tokens,
    second: Tokens | None,
    template: Template,
    *,
    left: bool,
    with_segments: bool,
    stand_in: int,
    units: np.ndarray | None = None,
    unit_counts: np.ndarray | None = None,
) -> Encoded:
    """Make sequences of whole texts.

    Args:
        cut: how.
        room: tokens of text that a sequence has room for.
        first, second: the texts; the second ones for pairs.
        template: of the tokenizer, for texts or for pairs.
        left: whether the beginning of a text is cut off rather than its end.
        with_segments: whether token types are wanted.
        stand_in: the token of a sequence that would have none.
        units: int64 (U, 2) the characters of each unit, as if the texts lay end to end.
        unit_counts: (texts,) units of each text.
    """
    shortened: np.ndarray | None = None
    if second is not None:
        found = _of_pairs(first.counts, second.counts, room, left)
        shortened = first.counts + second.counts > room
    elif cut.windows:
        found = _windows(first.counts, room, left and cut.cut)
    else:
        found = _cut(first.counts, room, left)
        shortened = first.counts > room
    before, between = len(template.before[0]), len(template.between[0])
    lengths = found.count + before + between + len(template.after[0])
    if found.second is not None:
        lengths += found.second[1]
    empty = lengths == 0
    offsets = offsets_of(lengths + empty)
    ids, types = np.empty(offsets[-1], np.int32), np.zeros(offsets[-1] if with_segments else 0, np.int8)
    ids[offsets[:-1][empty]] = stand_in
    starts = offsets[:-1]

    def put(special: Special, at: np.ndarray) -> np.ndarray:
        for i, (token, kind) in enumerate(zip(*special, strict=True)):
            ids[at[~empty] + i] = token
            if with_segments:
                types[at[~empty] + i] = kind
        return at + len(special[0])

    def copy(tokens: Tokens, begin: np.ndarray, count: np.ndarray, at: np.ndarray, kind: int) -> np.ndarray:
        rows = ranges(at, count)
        ids[rows] = tokens.ids[ranges(offsets_of(tokens.counts)[found.text] + begin, count)]
        if with_segments:
            types[rows] = kind
        return at + count

    at = copy(first, found.begin, found.count, put(template.before, starts), template.types[0])
    at = put(template.between, at)
    if second is not None and found.second is not None:
        at = copy(second, *found.second, at, template.types[1])
    put(template.after, at)
    unit_rows = None
    if units is not None:
        own = found.own_end - found.own_begin
        tokens = ranges(offsets_of(first.counts)[found.text] + found.own_begin, own)
        rows = ranges(starts + before + found.own_begin - found.begin, own)
        assert first.spans is not None
        unit_rows = find_units(first.spans[tokens], rows, units)
    return Encoded(
        ids,
        offsets,
        types if with_segments else None,
        found.text.astype(np.int32),
        unit_rows,
        None if unit_counts is None else offsets_of(unit_counts),
        shortened,
        second is None and cut.windows and cut.cut and left,
    )


def _cut(counts: np.ndarray, room: int, left: bool) -> _Sequences:
    kept = np.minimum(counts, room)
    begin = counts - kept if left else np.zeros_like(counts)
    return _Sequences(np.arange(len(counts)), begin, kept, begin, begin + kept)


def overlap_of(room: int) -> int:
    """Tokens of text that two neighbouring windows share, of those that a window has room for."""
    return room // 4


def _windows(counts: np.ndarray, room: int, with_cut: bool) -> _Sequences:
    """Windows from left to right; `with_cut` puts the last `room` tokens of a long text before its windows, owning none."""
    overlap = overlap_of(room)
    step = room - overlap
    windows = 1 + np.maximum(-(-(counts - room) // step), 0)
    ahead = ((counts > room) & with_cut).astype(np.int64)
    text = np.repeat(np.arange(len(counts)), windows + ahead)
    number = ranges(-ahead, windows + ahead)
    begin = np.where(number < 0, counts[text] - room, number * step)
    end = np.minimum(begin + room, counts[text])
    # Two neighbouring windows share `overlap` tokens. Each keeps the half that lies further from its own edge.
    own_begin = begin + np.where(number > 0, (overlap + 1) // 2, 0)
    own_end = end - np.where(number < windows[text] - 1, overlap // 2, 0)
    return _Sequences(text, begin, end - begin, own_begin, np.where(number < 0, own_begin, own_end))


def _of_pairs(one: np.ndarray, two: np.ndarray, room: int, left: bool) -> _Sequences:
    """The longer of the two loses tokens first; where both are long each gets half, the longer the odd one."""
    short, long = np.minimum(one, two), np.maximum(one, two)
    kept = np.where(short > room, short, np.maximum(short, room - short))
    halves = short + kept > room
    kept_short = np.where(halves, room // 2, short)
    kept_long = np.where(halves, room // 2 + room % 2, np.minimum(long, kept))
    fits = short + long <= room
    kept_one = np.where(fits, one, np.where(one > two, kept_long, kept_short))
    kept_two = np.where(fits, two, np.where(one > two, kept_short, kept_long))
    begin = one - kept_one if left else np.zeros_like(one)
    begin_two = two - kept_two if left else np.zeros_like(two)
    return _Sequences(np.arange(len(one)), begin, kept_one, begin, begin + kept_one, (begin_two, kept_two))


def find_units(spans: np.ndarray, rows: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Return the row of each unit's first sub-word: (U,), -1 where there is none.

    Args:
        spans: (n, 2) characters of the tokens, in order.
        rows: (n,) where the tokens lie.
        units: (U, 2) characters of the units.
    """
    # Special tokens and some blanks have an empty span. A blank that a tokenizer counts to the word after it, or makes a
    # token of its own, does no harm: it ends at or before the first character of that word's unit, or with it.
    real = spans[:, 0] < spans[:, 1]
    first, last, rows = spans[real, 0], np.maximum.accumulate(spans[real, 1]), rows[real]
    token = np.searchsorted(last, units[:, 0], side="right")  # the first token that ends after the unit begins
    found = np.full(len(units), -1, np.int64)
    hit = (token < len(last)) & (units[:, 0] < units[:, 1])
    hit[hit] = first[token[hit]] < units[hit, 1]
    found[hit] = rows[token[hit]]
    return found


def join(parts: Sequence[Encoded]) -> Encoded:
    """Put the sequences of several parts of a corpus one after the other."""

    def joined(arrays: list[Any], dtype: type) -> np.ndarray:
        return np.concatenate(arrays, dtype=dtype, casting="same_kind")

    rows = offsets_of(np.array([len(part.ids) for part in parts]))
    texts = offsets_of(np.array([part.n_texts for part in parts]))
    unit_rows = unit_offsets = segments = None
    if parts[0].segments is not None:
        segments = joined([part.segments for part in parts], np.int8)
    if parts[0].unit_rows is not None:
        found = [(part.unit_rows, row) for part, row in zip(parts, rows, strict=False) if part.unit_rows is not None]
        unit_rows = joined([np.where(one < 0, -1, one + row) for one, row in found], np.int64)
    if parts[0].unit_offsets is not None:
        unit_offsets = offsets_of(joined([np.diff(p.unit_offsets) for p in parts if p.unit_offsets is not None], np.int64))
    cut = None
    if any(part.cut is not None for part in parts):
        cut = joined([np.zeros(part.n_texts, bool) if part.cut is None else part.cut for part in parts], bool)
    return Encoded(
        joined([part.ids for part in parts], np.int32),
        offsets_of(joined([part.lengths for part in parts], np.int64)),
        segments,
        joined([part.text_of + np.int32(text) for part, text in zip(parts, texts, strict=False)], np.int32),
        unit_rows,
        unit_offsets,
        cut,
        any(part.ahead for part in parts),
    )
