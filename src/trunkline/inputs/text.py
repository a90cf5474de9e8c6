"""Texts to token ids: tokenised once, packed without padding, with the row of each unit's first sub-word.

Long texts are cut, or divided into overlapping windows. Only the fast tokenizers of transformers are used, for their
character offsets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from trunkline.data.columns import clean
from trunkline.errors import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHUNK_TEXTS, CHUNK_CHARACTERS = 2048, 1 << 20  # tokenised at once: keeps the lists of Python objects small


@dataclass
class Encoded:
    """Token ids of many texts, one sequence after the other; S sequences, N rows, U units.

    ids (np.ndarray): int32 (N,), special tokens included.
    offsets (np.ndarray): int64 (S+1,); sequence s is rows offsets[s]:offsets[s+1], never empty.
    segments (np.ndarray | None): int8 (N,) token type ids; only for pairs, and where the tokenizer's model takes them.
    text_of (np.ndarray): int32 (S,), non-decreasing: the text that a sequence (a window of it) comes from.
    unit_rows (np.ndarray | None): int64 (U,): row of the first sub-word of each unit; -1 where there is none.
    unit_offsets (np.ndarray | None): int64 (texts+1,): the units of text t are unit_offsets[t]:unit_offsets[t+1].
    truncated (int): texts that were cut.
    """

    ids: np.ndarray
    offsets: np.ndarray
    segments: np.ndarray | None
    text_of: np.ndarray
    unit_rows: np.ndarray | None
    unit_offsets: np.ndarray | None
    truncated: int

    @cached_property
    def lengths(self) -> np.ndarray:
        """int64 (S,): rows of each sequence."""
        return np.diff(self.offsets)

    @property
    def n_texts(self) -> int:
        return int(self.text_of[-1]) + 1 if len(self.text_of) else 0

    def digest(self) -> str:
        """sha256 (hex) over ids, offsets and segments: what layer states depend on."""
        digest = hashlib.sha256()
        for part in (self.ids, self.offsets, self.segments):
            data = b"" if part is None else np.ascontiguousarray(part).astype(part.dtype.newbyteorder("<")).tobytes()
            digest.update(len(data).to_bytes(8, "little") + data)
        return digest.hexdigest()

    def first_sequence(self) -> np.ndarray:
        """int64 (texts,): the sequence index of each text's first window."""
        return np.searchsorted(self.text_of, np.arange(self.n_texts))

    @cached_property
    def _units_by_row(self) -> tuple[np.ndarray, np.ndarray]:
        """Units that have a row, in order of it, and these rows."""
        rows = self.unit_rows if self.unit_rows is not None else np.empty(0, np.int64)
        order = np.argsort(rows, kind="stable")
        order = order[rows[order] >= 0]
        return order, rows[order]

    def units_of(self, sequences: np.ndarray | Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return which units lie in a batch and where.

        Args:
            sequences: (B,) sequence indices, their rows laid end to end in this order.

        Returns:
            tuple: (M,) unit indices and (M,) rows within the batch, both int64, in order of sequence, row and unit.
        """
        sequences = np.asarray(sequences, dtype=np.int64)
        units, rows = self._units_by_row
        begin = np.searchsorted(rows, self.offsets[sequences])
        counts = np.searchsorted(rows, self.offsets[sequences + 1]) - begin
        lengths = self.offsets[sequences + 1] - self.offsets[sequences]
        chosen = _ranges(begin, counts)
        shift = np.repeat(np.cumsum(lengths) - lengths - self.offsets[sequences], counts)
        return units[chosen], rows[chosen] + shift


def _ranges(begin: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """begin[0], begin[0]+1, ... (counts[0] of them), begin[1], ..."""
    return np.repeat(begin - (np.cumsum(counts) - counts), counts) + np.arange(int(counts.sum()))


def encode(
    texts: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    *,
    pairs: Sequence[str] | None = None,
    units: Sequence[Sequence[tuple[int, int]]] | None = None,
    max_length: int,
    windows: bool = False,
) -> Encoded:
    """Tokenise texts as the tokenizer itself would, special tokens included.

    Args:
        texts (Sequence[str]): lone surrogates are read as U+FFFD.
        tokenizer (PreTrainedTokenizerBase): a fast tokenizer of transformers.
        pairs: second texts; a pair that is too long loses tokens from the longer of the two first.
        units: character spans of the words of each text; a unit's row is that of the first sub-word that touches it.
        max_length (int): most tokens of a sequence, special ones included.
        windows (bool): divide a text that is longer into windows of which a quarter overlaps, rather than cut it. Each
            unit belongs to the one window where it has most context. Pairs are cut all the same.

    Raises:
        BadInput: a slow tokenizer, or a maximum length without room for text.
    """
    special = tokenizer.num_special_tokens_to_add(pair=pairs is not None) if tokenizer.is_fast else 0
    if not tokenizer.is_fast:
        raise BadInput(f"tokenizer {type(tokenizer).__name__}: it gives no character offsets, expected a fast tokenizer")
    room = max_length - special
    if room < 1 + (pairs is not None):
        raise BadInput(f"maximum length {max_length}: {special} special tokens leave no room for text, expected more")
    windows = windows and pairs is None
    stride = room // 4 if windows else 0
    with_segments = pairs is not None and "token_type_ids" in tokenizer.model_input_names
    parts = _Parts(tokenizer, with_segments, units is not None)
    with _truncation_side(tokenizer, "right" if windows else None):
        for begin, end in _chunks(texts, pairs):
            chunk = [clean(text) for text in texts[begin:end]]
            encodings = tokenizer(
                chunk,
                None if pairs is None else [clean(text) for text in pairs[begin:end]],
                truncation="longest_first",
                max_length=max_length,
                stride=stride,
                padding=False,
                return_attention_mask=False,
                return_token_type_ids=parts.with_segments,
                return_overflowing_tokens=windows,
                return_offsets_mapping=False,
                verbose=False,
            )
            chunk_units = None if units is None else units[begin:end]
            parts.add(encodings, chunk, chunk_units, windows, stride)
    return parts.whole()


class _Parts:
    """Packs chunk after chunk."""

    def __init__(self, tokenizer: Any, with_segments: bool, with_units: bool) -> None:
        self.with_segments, self.with_units = with_segments, with_units
        known = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id, tokenizer.pad_token_id, 0)
        self.stand_in = next(token for token in known if token is not None)  # for a text that has no token at all
        self.ids: list[np.ndarray] = []
        self.lengths: list[np.ndarray] = []
        self.segments: list[np.ndarray] = []
        self.text_of: list[np.ndarray] = []
        self.unit_rows: list[np.ndarray] = []
        self.unit_counts: list[np.ndarray] = []
        self.texts = self.rows = self.truncated = 0

    def add(self, encodings: Any, chunk: list[str], units: Sequence | None, windows: bool, stride: int) -> None:
        text_of = np.asarray(encodings["overflow_to_sample_mapping"] if windows else np.arange(len(chunk)), dtype=np.int64)
        rows = [ids or [self.stand_in] for ids in encodings["input_ids"]]
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        self.ids.append(_flat(rows, np.int32))
        if self.with_segments:
            self.segments.append(_flat([types or [0] for types in encodings["token_type_ids"]], np.int8))
        if not windows:
            self.truncated += sum(bool(one.overflowing) for one in encodings.encodings)
        if units is not None:
            found = _find_units(encodings.encodings, lengths, text_of, chunk, units, stride)
            found[found >= 0] += self.rows
            self.unit_rows.append(found)
            self.unit_counts.append(np.fromiter(map(len, units), np.int64, len(units)))
        self.lengths.append(lengths)
        self.text_of.append(text_of + self.texts)
        self.rows += int(lengths.sum())
        self.texts += len(chunk)

    def whole(self) -> Encoded:
        return Encoded(
            ids=_joined(self.ids, np.int32),
            offsets=_running(self.lengths),
            segments=_joined(self.segments, np.int8) if self.with_segments else None,
            text_of=_joined(self.text_of, np.int32),
            unit_rows=_joined(self.unit_rows, np.int64) if self.with_units else None,
            unit_offsets=_running(self.unit_counts) if self.with_units else None,
            truncated=self.truncated,
        )


def _flat(lists: list[list[int]], dtype: type) -> np.ndarray:
    return np.fromiter((one for ids in lists for one in ids), dtype)


def _joined(parts: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate(parts, dtype=dtype, casting="same_kind") if parts else np.empty(0, dtype)


def _running(parts: list[np.ndarray]) -> np.ndarray:
    """Counts to offsets: a zero in front, then the running sum."""
    return np.concatenate([[0], np.cumsum(_joined(parts, np.int64))]).astype(np.int64)


def _find_units(
    encodings: list[Any], lengths: np.ndarray, text_of: np.ndarray, chunk: list[str], units: Sequence, stride: int
) -> np.ndarray:
    """Return the row, within the chunk, of each unit's first sub-word: (units of the chunk,), -1 where there is none.

    Everything is laid out on one line of characters, the texts of the chunk end to end, so that one search finds all.
    """
    begins = np.cumsum([0, *map(len, chunk)])  # where each text begins on that line
    starts = np.cumsum(lengths) - lengths
    spans, rows = [np.empty((0, 2), np.int64)], [np.empty(0, np.int64)]
    for i, encoding in enumerate(encodings):
        inside = np.flatnonzero([one == 0 for one in encoding.sequence_ids])
        # Two neighbouring windows share `stride` tokens. Each keeps the half that lies further from its own edge.
        if i > 0 and text_of[i - 1] == text_of[i]:
            inside = inside[(stride + 1) // 2 :]
        if i + 1 < len(text_of) and text_of[i + 1] == text_of[i]:
            inside = inside[: len(inside) - stride // 2]
        spans.append(np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)[inside] + begins[text_of[i]])
        rows.append(inside + starts[i])
    first, last = np.concatenate(spans).T
    # Special tokens and some blanks have an empty span. A blank that a tokenizer counts to the word after it, or makes a
    # token of its own, does no harm: it ends at or before the first character of that word's unit, or with it.
    real = first < last
    first, last, token_rows = first[real], np.maximum.accumulate(last[real]), np.concatenate(rows)[real]
    wanted = np.array([span for one in units for span in one], dtype=np.int64).reshape(-1, 2)
    wanted += np.repeat(begins[:-1], [len(one) for one in units])[:, None]
    token = np.searchsorted(last, wanted[:, 0], side="right")  # the first token that ends after the unit begins
    found = np.full(len(wanted), -1, np.int64)
    hit = (token < len(last)) & (wanted[:, 0] < wanted[:, 1])
    hit[hit] = first[token[hit]] < wanted[hit, 1]
    found[hit] = token_rows[token[hit]]
    return found


def _chunks(texts: Sequence[str], pairs: Sequence[str] | None) -> Iterator[tuple[int, int]]:
    """Cut the texts into runs of bounded count and length: (begin, end) of each."""
    begin = characters = 0
    for i, text in enumerate(texts):
        characters += len(text) + (len(pairs[i]) if pairs is not None else 0)
        if characters >= CHUNK_CHARACTERS or i + 1 - begin >= CHUNK_TEXTS:
            yield begin, i + 1
            begin, characters = i + 1, 0
    if begin < len(texts):
        yield begin, len(texts)


@contextmanager
def _truncation_side(tokenizer: Any, side: str | None) -> Iterator[None]:
    """Windows run from left to right whatever side the tokenizer cuts; None leaves it alone."""
    before = tokenizer.truncation_side
    tokenizer.truncation_side = side or before
    try:
        yield
    finally:
        tokenizer.truncation_side = before
