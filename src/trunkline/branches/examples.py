"""What a side branch may look at before it is trained: examples of its task, with the layer states to predict them from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from trunkline.inputs.batching import Pooling


@dataclass(frozen=True)
class Asked:
    """What a branch asks to see.

    Attributes:
        layers: whose states, rising.
        pooling: how the rows of a text become one: their ``mean``, the first (``cls``), the last (``last``), or the mean of
            those that are no special tokens (``content``). For words always the rows that they are read from.
    """

    layers: tuple[int, ...]
    pooling: Pooling | Literal["content"]


@dataclass(frozen=True)
class Examples:
    """Training examples, in random order: texts, or the words of texts, that have a target.

    Attributes:
        states: by layer, float32 (M, K), on the CPU.
        targets: on the CPU: (M,) numbers of labels or tags, bool (M, L) of label sets, or (M,) floats of a regression.
        loss: the mean loss of logits (m, C) for the examples with the numbers (m,), differentiable in the logits.
    """

    states: Mapping[int, Tensor]
    targets: Tensor
    loss: Callable[[Tensor, Tensor], Tensor]
