"""Token ids of many texts, packed without padding: what the trunk reads and what layer states depend on. Or clips of audio."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Protocol

import numpy as np

from trunkline.inputs.clips import Clips


class Processed(Protocol):
    """What a processor makes of raw input, whatever that was: sequences of known lengths, told apart by a digest."""

    @property
    def lengths(self) -> np.ndarray:
        """int64 (S,): rows of each sequence."""

    @property
    def digests(self) -> np.ndarray:
        """uint64 (S, 2): 128 bits for each sequence, the same for those whose layer states are the same."""

    def digest(self) -> str:
        """sha256 (hex) over all that layer states depend on."""


@dataclass
class Encoded:
    """Token ids of many texts, one sequence after the other; S sequences, N rows, U units.

    ids (np.ndarray): int32 (N,), special tokens included.
    offsets (np.ndarray): int64 (S+1,); sequence s is rows offsets[s]:offsets[s+1], never empty.
    segments (np.ndarray | None): int8 (N,) token type ids; only for pairs, and where the tokenizer's model takes them.
    text_of (np.ndarray): int32 (S,), non-decreasing: the text that a sequence (a window of it) comes from.
    unit_rows (np.ndarray | None): int64 (U,): row of the first sub-word of each unit; -1 where there is none.
    unit_offsets (np.ndarray | None): int64 (texts+1,): the units of text t are unit_offsets[t]:unit_offsets[t+1].
    cut (np.ndarray | None): bool (texts,), the texts that lost tokens; None: none did.
    ahead (bool): whether the first of several sequences of a text is no window but what cutting leaves of it (see `Cut`).
    clips (Clips | None): of audio, the clips that the sequences are, one each; `ids` then say no more than how many rows there
        are. "Texts" are clips then, and "tokens" rows.
    """

    ids: np.ndarray
    offsets: np.ndarray
    segments: np.ndarray | None
    text_of: np.ndarray
    unit_rows: np.ndarray | None
    unit_offsets: np.ndarray | None
    cut: np.ndarray | None = None
    ahead: bool = False
    clips: Clips | None = None

    @cached_property
    def lengths(self) -> np.ndarray:
        """int64 (S,): rows of each sequence."""
        return np.diff(self.offsets)

    @property
    def n_texts(self) -> int:
        return int(self.text_of[-1]) + 1 if len(self.text_of) else 0

    @property
    def truncated(self) -> int:
        """How many texts were cut."""
        return 0 if self.cut is None else int(self.cut.sum())

    @property
    def longer(self) -> np.ndarray:
        """bool (texts,): whether a text is longer than one sequence, and so was cut, or divided into windows."""
        divided = np.bincount(self.text_of) > 1 if len(self.text_of) else np.empty(0, bool)
        return divided if self.cut is None else self.cut | divided

    @property
    def long_texts(self) -> int:
        """How many texts are longer than one sequence: those that were cut, or divided into windows."""
        return self.truncated or int(self.longer.sum())

    def digest(self) -> str:
        """sha256 (hex) over ids, offsets and segments, or over samples: what layer states depend on."""
        if self.clips is not None:
            return self.clips.digest()
        digest = hashlib.sha256()
        for part in (self.ids, self.offsets, self.segments):
            data = b"" if part is None else np.ascontiguousarray(part).astype(part.dtype.newbyteorder("<")).tobytes()
            digest.update(len(data).to_bytes(8, "little") + data)
        return digest.hexdigest()

    @cached_property
    def digests(self) -> np.ndarray:
        """uint64 (S, 2), little-endian: BLAKE2b of each sequence's ids and segments, the same in whatever corpus it stands;
        or of the samples of its clip.
        """
        if self.clips is not None:
            return self.clips.digests
        ids = np.ascontiguousarray(self.ids, dtype="<i4").view(np.uint8).data
        edges = self.offsets.tolist()
        if self.segments is None:
            made = [blake2b(ids[4 * a : 4 * b], digest_size=16).digest() for a, b in itertools.pairwise(edges)]
        else:  # `person` sets these apart from ids alone that happen to have the same bytes
            types = np.ascontiguousarray(self.segments, dtype="<i1").view(np.uint8).data
            made = [
                blake2b(bytes(ids[4 * a : 4 * b]) + types[a:b], digest_size=16, person=b"segments").digest()
                for a, b in itertools.pairwise(edges)
            ]
        return np.frombuffer(b"".join(made), dtype="<u8").reshape(-1, 2)

    def select(self, sequences: np.ndarray | Sequence[int]) -> Encoded:
        """Some of the sequences (B,), each as a text of its own and without units: what layer states are computed of."""
        sequences = np.asarray(sequences, dtype=np.int64)
        lengths = self.lengths[sequences]
        rows = ranges(self.offsets[sequences], lengths)
        segments = None if self.segments is None else self.segments[rows]
        texts = np.arange(len(sequences), dtype=np.int32)
        clips = None if self.clips is None else self.clips.select(sequences)
        return Encoded(self.ids[rows], offsets_of(lengths), segments, texts, None, None, clips=clips)

    def of_texts(self, texts: np.ndarray | Sequence[int]) -> Encoded:
        """Some of the texts (B,), with all of their sequences and units: a corpus of its own, in this order."""
        texts = np.asarray(texts, dtype=np.int64)
        first, end = (np.searchsorted(self.text_of, texts, side=side) for side in ("left", "right"))
        sequences = ranges(first, end - first)
        lengths = self.lengths[sequences]
        rows = ranges(self.offsets[sequences], lengths)
        segments = None if self.segments is None else self.segments[rows]
        unit_rows = unit_offsets = None
        if self.unit_rows is not None and self.unit_offsets is not None:
            counts = np.diff(self.unit_offsets)[texts]
            own = self.unit_rows[ranges(self.unit_offsets[texts], counts)]
            sizes = self.offsets[end] - self.offsets[first]  # rows of each text, which lie together
            moved = np.repeat(np.cumsum(sizes) - sizes - self.offsets[first], counts)
            unit_rows, unit_offsets = np.where(own < 0, -1, own + moved), offsets_of(counts)
        text_of = np.repeat(np.arange(len(texts), dtype=np.int32), end - first)
        cut = None if self.cut is None else self.cut[texts]
        clips = None if self.clips is None else self.clips.select(sequences)
        lengths, units = offsets_of(lengths), (unit_rows, unit_offsets)
        return Encoded(self.ids[rows], lengths, segments, text_of, *units, cut, self.ahead, clips)

    def first_sequence(self) -> np.ndarray:
        """int64 (texts,): each text's first window, or the text as it is cut."""
        return np.searchsorted(self.text_of, np.arange(self.n_texts))

    @cached_property
    def windows(self) -> np.ndarray:
        """bool (S,): whether a sequence is a window of its text, or all of it: those of a text hold all of its tokens."""
        found = np.ones(len(self.text_of), bool)
        if self.ahead:
            first = self.first_sequence()
            found[first[np.bincount(self.text_of, minlength=len(first)) > 1]] = False
        return found

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
        chosen = ranges(begin, counts)
        shift = np.repeat(np.cumsum(lengths) - lengths - self.offsets[sequences], counts)
        return units[chosen], rows[chosen] + shift


def ranges(begin: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """begin[0], begin[0]+1, ... (counts[0] of them), begin[1], ..."""
    return np.repeat(begin - (np.cumsum(counts) - counts), counts) + np.arange(int(counts.sum()))


def offsets_of(counts: np.ndarray) -> np.ndarray:
    """Counts to offsets, int64: a zero in front, then the running sum."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)
