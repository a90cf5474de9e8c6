"""Which row of a cache is which, after a program has put them in another order: beam search does so in every step.

A row is known again by the keys that it has in the cache, as these move with it, bit for bit. Those of the last token tell rows
apart where they depend on all tokens before it; in the first block of a decoder they depend on that token and its place alone.
So where several rows have the same, the keys of all tokens are compared, and those of what a decoder beside an encoder reads.
Keys are kept as digests, of 16 bytes for each token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trunkline.errors import BadInput

CELLS = 1 << 22  # numbers that are digested at a time
BITS = {1: torch.uint8, 2: torch.int16}  # by bytes of a number; of more, 4 at a time, so that no bit is shifted out of a sum


class Rows:
    """The rows of a cache as they were when a pass had ended.

    Args:
        cache: with plain keys.
        length: tokens in it.
        blocks: of the stack that fills it.
    """

    def __init__(self, cache: Any, length: int, blocks: int) -> None:
        self._blocks = blocks
        self._read(cache, length)
        self._beside = _beside(cache)  # the same for a row as long as it is there

    def _read(self, cache: Any, length: int) -> None:
        keys = plain_keys(cache, length, self._blocks)
        assert keys is not None
        self.length, self._tokens = length, digests(keys)  # (B, m, 2), of as many last tokens as a cache keeps

    def add(self, cache: Any, length: int) -> None:
        """Note the keys of the tokens that a pass has put behind those that are known."""
        keys, new = plain_keys(cache, length, self._blocks), length - self.length
        assert keys is not None
        if keys.shape[2] < new:
            self._read(cache, length)
            return
        self.length, self._tokens = length, np.concatenate([self._tokens, digests(keys[:, :, -new:])], 1)

    def follow(self, cache: Any, alike: Callable[[list[int]], bool]) -> np.ndarray:
        """Which row each of the cache's rows was, int64 (B',); the rows are then these. One that may have been itself was.

        Args:
            cache: with plain keys, of which rows may have been put in another order, left out or multiplied since.
            alike: whether it does not matter which of several rows one was.

        Raises:
            BadInput: a row that was none of these, or that may have been several which are not alike.
        """
        keys = plain_keys(cache, self.length, self._blocks)
        assert keys is not None
        found = _same(digests(keys[:, :, -1:]), self._tokens[:, -1:])
        if any(len(rows) > 1 for rows in found):
            known = min(keys.shape[2], self._tokens.shape[1])
            found = _same(digests(keys[:, :, -known:]), self._tokens[:, -known:], _beside(cache), self._beside)
        if not all(found):
            raise BadInput("the rows of a cache were put in an order that cannot be followed")
        if not all(len(rows) == 1 or alike(rows) for rows in found):
            raise unknown_rows(cache, "as several have the same keys")
        origins = np.array([row if row in rows else rows[0] for row, rows in enumerate(found)], np.int64)
        self._tokens = self._tokens[origins]
        self._beside = None if self._beside is None else self._beside[origins]
        return origins


def unknown_rows(cache: Any, why: str = "as it holds no plain keys") -> BadInput:
    rows = f"the rows of a {type(cache).__name__}"
    return BadInput(f"{rows} cannot be told from each other, {why}; expected another cache, or a text at a time")


def plain_keys(cache: Any, length: int, blocks: int) -> Tensor | None:
    """The keys (B, heads, n, d) of the last n of `length` tokens in the last block, as many as a cache has; None if it has them
    not plain.

    A decoder's cache may have more layers than the decoder: the library makes as many as the encoder has.
    """
    layers = getattr(getattr(cache, "self_attention_cache", cache), "layers", None)
    keys = getattr(layers[min(blocks, len(layers)) - 1], "keys", None) if layers else None
    if not isinstance(keys, Tensor) or keys.ndim != 4 or not keys.shape[2]:
        return None
    return keys[:, :, :length]


def begins_alike(cache: Any, other: Any, length: int, blocks: int) -> bool:
    """Whether each row of a cache holds the first `length` tokens of that of another one, or of its only row."""
    keys, others = plain_keys(cache, length, blocks), plain_keys(other, length, blocks)
    if keys is None or others is None or keys.shape[2] != length or keys.shape[1:] != others.shape[1:]:
        return False
    if keys.device != others.device or len(others) not in (1, len(keys)) or not torch.equal(keys, others.expand_as(keys)):
        return False
    beside, others_beside = _beside(cache), _beside(other)
    if beside is None or others_beside is None:
        return beside is others_beside
    return beside.shape[1:] == others_beside.shape[1:] and bool((beside == others_beside).all())


def _beside(cache: Any) -> np.ndarray | None:
    """Digests (B, S, 2) of what a decoder reads beside its text; None where that is not cached."""
    layers = getattr(getattr(cache, "cross_attention_cache", None), "layers", None)
    keys = getattr(layers[0], "keys", None) if layers else None
    return digests(keys) if isinstance(keys, Tensor) and keys.ndim == 4 and keys.shape[2] else None


@torch.no_grad()
def digests(keys: Tensor) -> np.ndarray:
    """Two sums of the bits of each token's keys (B, heads, n, d), weighted with random odd numbers, modulo 2 to the 64: int64
    (B, n, 2).
    """
    step = max(1, CELLS // (len(keys) * keys.shape[1] * keys.shape[3] or 1))
    parts = []
    for start in range(0, keys.shape[2], step):
        rows = keys[:, :, start : start + step].transpose(1, 2).flatten(2).contiguous()
        bits = rows.view(BITS.get(rows.element_size(), torch.int32)).long()
        weights = _weights(bits.shape[2], bits.device)
        parts.append(torch.stack([(bits * own).sum(2) for own in weights], 2).cpu().numpy())
    return np.concatenate(parts, 1)


@lru_cache(maxsize=8)
def _weights(width: int, device: torch.device) -> Tensor:
    most = torch.iinfo(torch.int64).max
    drawn = torch.randint(-most, most, (2, width), generator=torch.Generator().manual_seed(0))
    return (drawn | 1).to(device)


def _same(now: np.ndarray, then: np.ndarray, *beside: np.ndarray | None) -> list[list[int]]:
    """For each row of one batch of digests, the rows of the other that equal it."""
    places: dict[tuple[bytes, ...], list[int]] = {}
    for row, key in enumerate(_keyed(then, *beside[1:])):
        places.setdefault(key, []).append(row)
    return [places.get(key, []) for key in _keyed(now, *beside[:1])]


def _keyed(*parts: np.ndarray | None) -> Iterable[tuple[bytes, ...]]:
    known = [part for part in parts if part is not None]
    return (tuple(part[row].tobytes() for part in known) for row in range(len(known[0])))
