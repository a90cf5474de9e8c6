"""What is read of the audio clips of a corpus: which samples, and a digest of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trunkline.data.clips import Clip


@dataclass(frozen=True)
class Clips:
    """The clips of S sequences, one each.

    sources (tuple[Clip, ...]): where their samples are.
    samples (np.ndarray): int64 (S,), how many samples of each are read, from its beginning.
    digests (np.ndarray): uint64 (S, 2), little-endian: BLAKE2b of these samples.
    """

    sources: tuple[Clip, ...]
    samples: np.ndarray
    digests: np.ndarray

    def select(self, sequences: np.ndarray | Sequence[int]) -> Clips:
        """Some of them (B,), in this order."""
        chosen = np.asarray(sequences, dtype=np.int64)
        return Clips(tuple(self.sources[i] for i in chosen.tolist()), self.samples[chosen], self.digests[chosen])

    def digest(self) -> str:
        """sha256 (hex) over all samples."""
        return hashlib.sha256(b"audio" + np.ascontiguousarray(self.digests, dtype="<u8").tobytes()).hexdigest()


def digest_of(samples: np.ndarray) -> np.ndarray:
    """uint64 (2,): BLAKE2b of samples float32 (n,)."""
    data = np.ascontiguousarray(samples, dtype="<f4").tobytes()
    return np.frombuffer(hashlib.blake2b(data, digest_size=16).digest(), dtype="<u8")
