"""Audio clips to sequences: each clip is one, of as many rows as the trunk makes layer states of it.

A clip is read twice: when it is counted and checked, before any work, and when a pass needs its features. Nothing of a file is
kept in memory between. A clip that is longer than the maximum length is cut at its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trunkline.data.clips import Clip
from trunkline.errors import BadInput, TrunklineError
from trunkline.inputs.clips import Clips, digest_of
from trunkline.inputs.cutting import Cut
from trunkline.inputs.encoded import Encoded, offsets_of
from trunkline.inputs.frontends import FrontEnd
from trunkline.inputs.sounds import read_samples

PASS_ROWS = 12_000  # of a pass whose clips all take the model's whole window, however short they are


class AudioProcessor:
    """What makes sequences of clips, and batches of features of these. Threads may share it: nothing in it changes.

    Args:
        front: makes the features.
        name: of the trunk, for messages.
    """

    with_segments = False

    def __init__(self, front: FrontEnd, name: str) -> None:
        self.front, self.name = front, name

    def encode(
        self,
        clips: Sequence[Any],
        cuts: Sequence[Cut],
        *,
        pairs: Sequence[Any] | None = None,
        units: Sequence[Any] | None = None,
    ) -> list[Encoded]:
        """Read clips once, check them, and cut them in each of the ways asked for.

        Args:
            clips: what `Clip.of` takes.
            cuts: how clips become sequences; the result has as many parts.
            pairs, units: none.

        Raises:
            BadInput: pairs or words, which clips have not; a clip that cannot be read, or is too short for a single row.
        """
        if pairs is not None:
            raise BadInput(f"{self.name} reads audio clips, which have no second texts; expected a trunk that reads texts")
        if units is not None:
            raise BadInput(f"{self.name} reads audio clips, which have no words to tag; expected a task about whole clips")
        if any(cut.windows for cut in cuts):
            raise BadInput(f"{self.name} reads audio clips, which are not divided into windows; expected long_texts: first")
        given = [Clip.of(one, f"clip {number}") for number, one in enumerate(clips, 1)]
        limits = [self.front.samples(cut.max_length) for cut in cuts]
        rows = np.empty((len(cuts), len(given)), np.int64)
        kept, longer = np.empty_like(rows), np.zeros(rows.shape, bool)
        digests = np.empty((*rows.shape, 2), np.uint64)
        for place, clip in enumerate(given):
            samples, count = self._read(clip, max(limits))
            made: dict[int, tuple[int, np.ndarray]] = {}
            for number, limit in enumerate(limits):
                size = min(count, limit)
                if size not in made:
                    made[size] = self.front.rows(self.front.features(samples[:size])), digest_of(samples[:size])
                rows[number, place], digests[number, place] = made[size]
                kept[number, place], longer[number, place] = size, count > limit
        return [
            Encoded(
                np.zeros(int(rows[number].sum()), np.int32),
                offsets_of(rows[number]),
                None,
                np.arange(len(given), dtype=np.int32),
                None,
                None,
                longer[number],
                clips=Clips(tuple(given), kept[number], digests[number]),
            )
            for number in range(len(cuts))
        ]

    def collate(self, encoded: Encoded, sequences: Sequence[int] | np.ndarray, multiple: int = 1) -> dict[str, np.ndarray]:
        """Make a batch of the features of some clips that may share one (`passes`), in their order.

        Returns:
            `input_features` float32 (B, bins, frames), or `input_values` float32 (B, samples) and, where padding is masked,
            `attention_mask` int64 (B, samples).

        Raises:
            TrunklineError: a file has changed since it was encoded.
        """
        assert encoded.clips is not None
        features = [self._features(encoded.clips, sequence) for sequence in np.asarray(sequences).tolist()]
        if self.front.window is not None:
            return {self.front.key: np.stack(features)}
        lengths = np.array([len(one) for one in features])
        if not self.front.together and len(set(lengths.tolist())) > 1:
            raise ValueError("clips of different length in a batch of a model for which there is no padding")
        batch = np.zeros((len(features), int(lengths.max(initial=0))), np.float32)
        for row, one in enumerate(features):
            batch[row, : len(one)] = one
        mask = {"attention_mask": (np.arange(batch.shape[1]) < lengths[:, None]).astype(np.int64)} if self.front.masked else {}
        return {self.front.key: batch, **mask}

    def passes(self, encoded: Encoded, sequences: np.ndarray) -> list[np.ndarray]:
        """Which of some sequences (B,) share a pass, as places among them; one array if all of them do."""
        assert encoded.clips is not None
        if self.front.window is not None:
            size = max(1, PASS_ROWS // self.front.window)
            return [np.arange(begin, min(begin + size, len(sequences))) for begin in range(0, len(sequences), size)]
        if self.front.together:
            return [np.arange(len(sequences))]
        samples = encoded.clips.samples[sequences]
        return [np.flatnonzero(samples == one) for one in np.unique(samples)]

    def real(self, lengths: np.ndarray) -> np.ndarray:
        """bool (B, T): which rows of a pass over clips of so many rows each are theirs."""
        width = self.front.window or int(lengths.max(initial=0))
        return np.arange(width) < lengths[:, None]

    def seconds(self, rows: int) -> float:
        """How long a clip is that has so many rows, at most."""
        return self.front.samples(rows) / self.front.rate

    def _read(self, clip: Clip, most: int) -> tuple[np.ndarray, int]:
        samples, count = read_samples(clip, self.front.rate, most, reader=self.name)
        if count < self.front.least:
            raise BadInput(
                f"{clip.place}: found {count} samples ({count / self.front.rate:.3g} s), expected at least {self.front.least}, "
                f"which {self.name} needs for one row"
            )
        return samples, count

    def _features(self, clips: Clips, sequence: int) -> np.ndarray:
        clip, size = clips.sources[sequence], int(clips.samples[sequence])
        try:
            samples, _ = read_samples(clip, self.front.rate, size, reader=self.name)
            same = clip.samples is not None or (digest_of(samples) == clips.digests[sequence]).all()
        except BadInput:
            same = False
        if not same:
            raise TrunklineError(f"{clip.place}: has changed since it was read first")
        return self.front.features(samples)
