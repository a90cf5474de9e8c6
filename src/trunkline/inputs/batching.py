"""Batches by token budget with length grouping, and the packed layout of their rows.

Grouping sequences of like length keeps padding small; drawing the groups anew each epoch keeps batches varied
(shuffle, sort by length within large pools, shuffle the batches).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Pooling = Literal["mean", "cls", "last"]  # how the rows of a sequence become one: their mean, the first, the last

BATCHES = 64  # of an epoch that `fitting_tokens` aims at, with
TEXTS = 8  # sequences of mean length in a batch at least, and
TOKENS = 2048, 4096  # tokens at most: for many short sequences, for TEXTS long ones
POOL_BATCHES = 50  # sequences are sorted by length within pools of about this many batches


def token_batches(
    lengths: np.ndarray | Sequence[int],
    *,
    tokens: int | None = None,
    size: int | None = None,
    seed: int | None = None,
    epoch: int = 0,
    counts: np.ndarray | None = None,
) -> list[np.ndarray]:
    """Divide sequences into batches of like length; each sequence is in exactly one.

    Args:
        lengths: (S,) rows of each sequence.
        tokens (int | None): most cells, padding included, that a batch may have: longest x count. A sequence longer
            than that is a batch of its own.
        size (int | None): most sequences that a batch may have. Give `tokens`, `size` or both.
        seed (int | None): None for the longest first, always the same; else drawn by (seed, epoch).
        epoch (int): which draw.
        counts: (S,) where each stands for several sequences that are not to be divided, how many: `lengths` are then those of
            the longest of each, and `size` counts what is divided.

    Returns:
        list[np.ndarray]: int64 sequence indices of each batch, longest first within it.
    """
    if tokens is None and size is None:
        raise ValueError("token_batches: give tokens, size or both")
    lengths = np.asarray(lengths, dtype=np.int64)
    counts = np.ones_like(lengths) if counts is None else counts
    if seed is None:
        return _cut(np.argsort(-lengths, kind="stable"), lengths, counts, tokens, size)
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    batches = []
    for pool in np.array_split(order, _pools(lengths, counts, tokens, size)):
        batches += _cut(pool[np.argsort(-lengths[pool], kind="stable")], lengths, counts, tokens, size)
    return [batches[i] for i in rng.permutation(len(batches))]


def fitting_tokens(lengths: np.ndarray | Sequence[int]) -> int:
    """Tokens of a batch that give little data enough steps: about BATCHES an epoch, within the bounds of TEXTS and TOKENS.

    Args:
        lengths: (S,) rows of each sequence, at least one.
    """
    lengths = np.asarray(lengths)
    least = min(TOKENS[1], math.ceil(TEXTS * lengths.mean()))
    return max(least, min(TOKENS[0], math.ceil(lengths.sum() / BATCHES)))


def divided(
    lengths: np.ndarray | Sequence[int], *, tokens: int | None = None, size: int | None = None
) -> list[tuple[int, int]]:
    """Divide a batch, in its order, into runs that keep to the bounds of `token_batches`: (begin, end) of each."""
    runs, begin, longest = [], 0, 0
    for i, length in enumerate(np.asarray(lengths).tolist()):
        longest, count = max(longest, length), i + 1 - begin
        if count > 1 and ((tokens is not None and longest * count > tokens) or (size is not None and count > size)):
            runs.append((begin, i))
            begin, longest = i, length
    return [*runs, (begin, len(lengths))]


def _pools(lengths: np.ndarray, counts: np.ndarray, tokens: int | None, size: int | None) -> int:
    """How many pools: of about POOL_BATCHES batches; at least two where there are batches enough, or epochs would be alike."""
    batches = max((lengths * counts).sum() / tokens if tokens else 0, len(lengths) / size if size else 0)
    return max(1, round(batches / POOL_BATCHES), 2 if batches >= 8 else 1)


def _cut(order: np.ndarray, lengths: np.ndarray, counts: np.ndarray, tokens: int | None, size: int | None) -> list[np.ndarray]:
    """Cut sequences in falling order of length: the first of a batch is its longest, so it says how many fit."""
    batches, start = [], 0
    while start < len(order):
        count = size or len(order)
        if tokens is not None:
            room = max(1, tokens // max(1, int(lengths[order[start]])))
            within = np.cumsum(counts[order[start : start + room]])
            count = min(count, max(1, int(np.searchsorted(within, room, side="right"))))
        batches.append(order[start : start + count])
        start += count
    return batches


def padding_share(lengths: np.ndarray | Sequence[int], batches: Sequence[np.ndarray]) -> float:
    """Return the share of cells that would be padding: 1 - real / (longest x count), summed over batches."""
    lengths = np.asarray(lengths)
    padded = sum(int(lengths[batch].max()) * len(batch) for batch in batches if len(batch))
    return 1 - sum(int(lengths[batch].sum()) for batch in batches) / padded if padded else 0.0


class Layout:
    """Where the rows of a batch lie: packed (N, ...) and padded on the right (B, T, ...).

    Args:
        lengths (LongTensor): (B,) rows of each sequence, T the most of them and N their sum.
    """

    def __init__(self, lengths: Tensor) -> None:
        self.lengths = lengths.long()
        self.total = int(self.lengths.sum())
        self.longest = int(self.lengths.max()) if len(self.lengths) else 0

    @cached_property
    def starts(self) -> Tensor:
        """(B,) long: the first packed row of each sequence."""
        return self.lengths.cumsum(0) - self.lengths

    @cached_property
    def sequence_of(self) -> Tensor:
        """(N,) long: the sequence that each packed row belongs to."""
        numbers = torch.arange(len(self.lengths), device=self.lengths.device)
        return torch.repeat_interleave(numbers, self.lengths, output_size=self.total)

    @cached_property
    def mask(self) -> Tensor:
        """(B, T) bool: true where a row is real."""
        return torch.arange(self.longest, device=self.lengths.device) < self.lengths[:, None]

    @cached_property
    def cells(self) -> Tensor:
        """(N,) long: the cell of the flattened (B * T) padded form that each packed row takes."""
        gaps = torch.arange(len(self.lengths), device=self.lengths.device) * self.longest - self.starts
        return torch.arange(self.total, device=self.lengths.device) + gaps[self.sequence_of]

    def pad(self, rows: Tensor) -> Tensor:
        """Turn packed (N, ...) into (B, T, ...), zeros where padding is."""
        out = rows.new_zeros((len(self.lengths) * self.longest, *rows.shape[1:]))
        return out.index_copy(0, self.cells, rows).view(len(self.lengths), self.longest, *rows.shape[1:])

    def unpad(self, padded: Tensor) -> Tensor:
        """Turn (B, T, ...) into packed (N, ...): what stands on padding is dropped."""
        return padded.reshape(-1, *padded.shape[2:]).index_select(0, self.cells)

    def mean(self, rows: Tensor) -> Tensor:
        """Return the mean of each sequence's rows: (N, k) to (B, k); a sequence without rows gives zeros."""
        return self.pad(rows).sum(1) / self.lengths.clamp(min=1)[:, None].to(rows.dtype)

    def pooled(self, rows: Tensor, pooling: Pooling) -> Tensor:
        """Return one row for each sequence, of at least one row each: (N, k) to (B, k)."""
        if self.longest == 1 and self.total == len(self.lengths):
            return rows
        if pooling == "mean":
            return self.mean(rows)
        return rows[self.starts if pooling == "cls" else self.starts + self.lengths - 1]

    def means(self, rows: Tensor) -> Tensor:
        """As `mean`, added up row by row: faster for wide rows on a CPU, and other bits each time on a GPU."""
        sums = rows.new_zeros(len(self.lengths), rows.shape[1]).index_add(0, self.sequence_of, rows)
        return sums / self.lengths.clamp(min=1)[:, None].to(rows.dtype)
