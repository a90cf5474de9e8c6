"""From the samples of a clip to what an audio model is given, by the feature extractor of its folder; and how many rows of
layer states come of it.

Rows must not depend on the clips that share a batch. Read off the models of transformers:

- **Whisper** is given a log-mel spectrogram of a window of fixed length (30 s), silence behind the sound, and has no mask: its
  states are the same in any batch. The rows of a clip are those of its sound (`sounding_rows`), not of the silence behind it.
- **wav2vec2** is given the samples. Where its convolutions have layer norm (``feat_extract_norm: layer``), padding is masked:
  the mask of the samples is reduced to the frames whose convolutions see no padding. Where the first of them has group norm
  over the whole length (``group``), padding changes every frame, and the model was trained without a mask: such clips are only
  put into a batch with clips of the same length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

# Whisper's feature extractor raises what is more than 8 decades below the loudest to that, and what is below 1e-10 to 1e-10;
# then it adds 4 to the decades and divides by 4.
RANGE, SILENCE = 8 / 4, (-10 + 4) / 4
MARGIN = 0.05  # 2 dB: more than bfloat16 rounds by


class FrontEnd(Protocol):
    """What makes the input of a model of samples.

    Attributes:
        rate: Hz, of the samples.
        key: what the model calls its input.
        window: rows of every pass, however short the clips are; None: as many as the longest clip of a batch has.
        together: whether clips of different length may share a batch.
        masked: whether the model is told which samples are padding.
        least: samples that the shortest clip has.
    """

    rate: int
    key: str
    window: int | None
    together: bool
    masked: bool
    least: int

    def features(self, samples: np.ndarray) -> np.ndarray:
        """float32 (n,) samples as the model is given them, for a clip alone."""

    def rows(self, features: np.ndarray) -> int:
        """How many rows of states a clip of these features has."""

    def samples(self, rows: int) -> int:
        """The most samples that have no more than so many rows."""


class LogMel:
    """Whisper's: a log-mel spectrogram (bins, frames) of a window of fixed length, two frames for each row."""

    key, together, masked, least = "input_features", True, False, 1
    window: int | None

    def __init__(self, extractor: Any, rows: int) -> None:
        self.rate, self.window, self._window = int(extractor.sampling_rate), rows, rows
        self._extractor, self._per_row, self._half = extractor, 2 * int(extractor.hop_length), int(extractor.n_fft) // 2

    def features(self, samples: np.ndarray) -> np.ndarray:
        return self._extractor(samples, sampling_rate=self.rate, return_tensors="np")["input_features"][0]

    def rows(self, features: np.ndarray) -> int:
        return int(sounding_rows(torch.from_numpy(features[None]))[0])

    def samples(self, rows: int) -> int:
        # A frame sees half of its width of what comes before and behind; the window ends with its last sample.
        return rows * self._per_row - (self._half if rows < self._window else 0)


class Waveform:
    """wav2vec2's: the samples, normalised as its feature extractor says; rows are what its convolutions make of them.

    Args:
        extractor: of the folder.
        kernels, strides: of the convolutions, in samples of the layer before.
        masked: whether padding is masked; otherwise there is none.
    """

    key = "input_values"
    window: int | None = None

    def __init__(self, extractor: Any, kernels: Sequence[int], strides: Sequence[int], *, masked: bool) -> None:
        self.rate, self.masked, self.together = int(extractor.sampling_rate), masked, masked
        self._extractor, self.layers = extractor, tuple(zip(kernels, strides, strict=True))
        self.least = shortest(self.layers)

    def features(self, samples: np.ndarray) -> np.ndarray:
        return np.asarray(self._extractor(samples, sampling_rate=self.rate)["input_values"][0], dtype=np.float32)

    def rows(self, features: np.ndarray) -> int:
        return int(convolved(torch.tensor(len(features)), self.layers))

    def samples(self, rows: int) -> int:
        for kernel, stride in reversed(self.layers):
            rows = rows * stride + kernel - 1
        return rows


def convolved(samples: Tensor, layers: Sequence[tuple[int, int]]) -> Tensor:
    """How many rows convolutions of (kernel, stride) without padding make of so many samples each, long (B,)."""
    for kernel, stride in layers:
        samples = torch.div(samples - kernel, stride, rounding_mode="floor") + 1
    return samples.clamp(min=0)


def shortest(layers: Sequence[tuple[int, int]]) -> int:
    """The fewest samples of which they make a row."""
    samples = 1
    for kernel, stride in reversed(layers):
        samples = (samples - 1) * stride + kernel
    return samples


def sounding_rows(features: Tensor) -> Tensor:
    """The rows of log-mel spectrograms (B, bins, frames) up to the last one with sound, long (B,), each at least 1.

    A frame has sound where a bin of it is above the silence that the feature extractor puts behind a clip. It is told from the
    features alone, so that a model that somebody else calls is read as a clip by itself is.
    """
    features = features.float()
    silence = (features.amax((1, 2)) - RANGE).clamp(min=SILENCE) + MARGIN
    sounding = features.amax(1) > silence[:, None]
    frames = (sounding * torch.arange(1, features.shape[2] + 1, device=features.device)).amax(1)
    return ((frames + 1) // 2).clamp(min=1)
