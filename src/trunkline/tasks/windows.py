"""Answers at text level from all windows of a long text: their logits (windows, C) are made one, in training before the loss.

    mean:  y = 1/n sum_w y_w         max:  y_c = max_w y_wc, for each output c

Each window is pooled and classified by itself. A text of one window has the logits of that, bit for bit.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from trunkline.inputs.batching import Layout
from trunkline.tasks.answers import Answers, Picked, Places, Targets, TextAnswers
from trunkline.trunk.machine import onto

LongTexts = Literal["first", "mean", "max"]  # what of a text that is longer than one sequence a task at text level reads


class WindowAnswers(TextAnswers):
    """One answer for each text, of the logits of all of its windows."""

    whole: ClassVar[bool] = True
    joined: ClassVar[bool] = True

    @staticmethod
    @abstractmethod
    def of_windows(logits: Tensor, texts: Tensor, count: int) -> Tensor:
        """The logits of `count` texts, of those (M, C) of windows; `texts` (M,) are the texts of these, rising, each there."""

    @property
    def count(self) -> int:
        return int(self.read.sum())

    @cached_property
    def read(self) -> np.ndarray:
        return self.encoded.windows

    @cached_property
    def _numbers(self) -> np.ndarray:
        """(S,) the row of the logits of each window."""
        return np.cumsum(self.read) - 1

    def places(self, sequences: np.ndarray) -> Places:
        kept = self.read[sequences]
        return Places(None, kept, self._numbers[sequences[kept]])

    def combined(self, logits: np.ndarray) -> np.ndarray:
        texts = torch.from_numpy(self.encoded.text_of[self.read].astype(np.int64))
        return self.of_windows(torch.from_numpy(logits), texts, self.encoded.n_texts).numpy()

    def combine(self, logits: Tensor, picked: Picked) -> Tensor:
        assert picked.of is not None
        return self.of_windows(logits, picked.of, len(picked.targets))

    def pick(
        self, targets: Targets, supervised: np.ndarray, sequences: np.ndarray, layout: Layout, device: torch.device
    ) -> Picked | None:
        """The windows of a text must follow one another in `sequences`; those that lie apart count as several texts."""
        keep = np.flatnonzero(supervised[sequences])
        if len(keep) == 0:
            return None
        texts = self.encoded.text_of[sequences[keep]].astype(np.int64)
        begins = np.diff(texts, prepend=-1) != 0
        own = texts[begins]
        weights = None if targets.weights is None else onto(targets.weights[own], device)
        of = torch.from_numpy(np.cumsum(begins) - 1).to(device)
        return Picked(None, torch.from_numpy(keep).to(device), onto(targets.values[own], device), None, weights, of)


class MeanOfWindows(WindowAnswers):
    """The mean of the logits of the windows."""

    @staticmethod
    def of_windows(logits: Tensor, texts: Tensor, count: int) -> Tensor:
        if len(logits) == count:
            return logits
        sums = logits.new_zeros(count, logits.shape[1]).index_add(0, texts, logits)
        return sums / torch.bincount(texts, minlength=count)[:, None].to(logits.dtype)


class MaxOfWindows(WindowAnswers):
    """The largest logit of the windows, for each output; of equal ones each has a share of its gradient."""

    @staticmethod
    def of_windows(logits: Tensor, texts: Tensor, count: int) -> Tensor:
        if len(logits) == count:
            return logits
        lowest = logits.new_full((count, logits.shape[1]), -torch.inf)
        return lowest.scatter_reduce(0, texts[:, None].expand_as(logits), logits, "amax", include_self=False)


def answers_for(long_texts: LongTexts, usual: type[Answers]) -> type[Answers]:
    """Where the answers of a task lie that reads so much of long texts; `usual` are those of its kind."""
    found: dict[LongTexts, type[Answers]] = {"first": usual, "mean": MeanOfWindows, "max": MaxOfWindows}
    return found[long_texts]
