"""What a call of a user's model that reads audio says about its clips: which rows of states are theirs."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from trunkline.errors import BadInput
from trunkline.inputs.frontends import convolved, shortest, sounding_rows
from trunkline.model.attached.calls import Call
from trunkline.model.attached.generating import called_within, outermost, runs_whole


def read_clips(arguments: Mapping[str, Any], config: PretrainedConfig) -> Call:
    """Read it off the arguments of the module that is given the features, by the rules of inputs/frontends.py.

    Raises:
        BadInput: no features, or a mask that does not say which samples are real.
    """
    features, values = arguments.get("input_features"), arguments.get("input_values")
    if isinstance(features, Tensor) and features.ndim == 3:
        rows, width = sounding_rows(features), features.shape[2] // 2
        return _call(rows, width, clips=tuple(map(_digest, features)))
    if not isinstance(values, Tensor) or values.ndim != 2:
        raise BadInput("a pass was called without input_features or input_values, so its clips are unknown")
    mask = arguments.get("attention_mask")
    if mask is not None and (not isinstance(mask, Tensor) or mask.shape != values.shape):
        raise BadInput("attention mask: found one of another shape than the samples, expected one for each of them")
    layers = tuple(zip(config.conv_kernel, config.conv_stride, strict=True))
    whole = torch.full((len(values),), values.shape[1], device=values.device)
    samples = whole if mask is None else mask.long().sum(1)
    spoiled = 0 if config.feat_extract_norm == "layer" or len(values) == 1 else _padded(values, shortest(layers))
    return _call(convolved(samples, layers), int(convolved(whole[:1], layers)[0]), spoiled=spoiled)


class Repeats:
    """Which passes Whisper's `generate` runs over the same clips once more: the windows behind the pass that finds the language
    (of the whole model, where windows go through the encoder alone), and those of a window that was decoded badly. Passes of
    another call of `generate`, or of none, are over clips of their own, whatever these hold.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.forget()

    def forget(self) -> None:
        """Let go of the calls that were noted."""
        self._outer: FrameType | None = None  # the call of `generate`; held, so that no later one can be taken for it
        self._window: FrameType | None = None  # the call within it that decodes a window
        self._clips: Counter[bytes] = Counter()
        self._found_language = False

    def again(self, clips: Sequence[bytes]) -> bool:
        """Whether the pass that begins, over these clips, repeats one that was counted."""
        outer = outermost(self._model)
        window = None if outer is None else called_within(outer)
        found = Counter(clips)
        repeated = outer is not None and outer is self._outer
        if self._found_language:
            repeated = repeated and found.keys() <= self._clips.keys()  # as often as sequences are asked for
        else:
            repeated = repeated and window is self._window and found <= self._clips
        if not repeated:
            self._clips = found
        self._outer, self._window = outer, window
        self._found_language = outer is not None and runs_whole(self._model, outer)
        return repeated


def _call(rows: Tensor, width: int, clips: tuple[bytes, ...] = (), spoiled: int = 0) -> Call:
    real = torch.arange(width, device=rows.device) < rows[:, None]
    return Call(None, real, 0, None, clips, spoiled)


def _digest(features: Tensor) -> bytes:
    data = features.detach().contiguous().view(torch.uint8).cpu().numpy().tobytes()
    return hashlib.blake2b(data, digest_size=16).digest()


def _padded(values: Tensor, least: int) -> int:
    """How many clips (B, samples) end in a constant for as long as makes a row: as padding does, normalised or not."""
    end = values[:, -least:]
    return int((end == end[:, -1:]).all(1).sum())
