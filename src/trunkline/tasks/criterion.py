"""How logits become a loss and predictions: what a criterion provides, and the arrays that it decodes logits to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from trunkline.errors import TrunklineError


@dataclass
class Decoded:
    """Predictions as arrays, laid out like `Targets`.

    values (np.ndarray): sequence (texts,) label numbers; multilabel (texts, L) bool; token (U,) tag numbers; regression
        (texts,) numbers in the units of the target column.
    scores (np.ndarray): probabilities: (texts, C), (texts, L), for token (U,) that of the tag in `values`; for regression
        the values again.
    offsets (np.ndarray | None): only at unit level, (texts + 1,).
    """

    values: np.ndarray
    scores: np.ndarray
    offsets: np.ndarray | None = None


class Criterion(nn.Module):
    """Turns logits into a loss and into predictions; may hold weights of its own, such as a CRF's transitions."""

    def loss(self, logits: Tensor, targets: Tensor, groups: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
        """Return the mean loss (a scalar, fp32 or fp64) of M rows that have a target.

        Args:
            logits: (M, C).
            targets: (M, ...), rows of `Targets.values`.
            groups: (M,) the sequence that each unit row belongs to, rows of one sequence together and in order; None at
                text level.
            weights: (M,) what the loss of each row is multiplied by, 1 on average over the training rows; None: 1. All rows of
                one sequence have the same.
        """
        raise NotImplementedError

    def decode(
        self,
        logits: np.ndarray | Tensor,
        offsets: np.ndarray | None = None,
        *,
        temperature: float | None = None,
        thresholds: np.ndarray | float | None = None,
    ) -> Decoded:
        """Return the predictions for logits (texts, C), or (U, C) with `offsets` (texts + 1,) at unit level.

        Args:
            logits, offsets: as above.
            temperature: what the logits are divided by for the probabilities; None: nothing. It never changes which label or
                which tags are predicted.
            thresholds: from which probability on each label of several holds, (L,) or one for all; None: the task's own.
        """
        raise NotImplementedError

    def probabilities(
        self, logits: np.ndarray | Tensor, offsets: np.ndarray | None = None, *, temperature: float | None = None
    ) -> np.ndarray | None:
        """Return the probability of every label, fp32 (texts, L) or (U, L) at unit level; None for kinds without labels."""
        return None

    def logits_to_scale(self, logits: np.ndarray | Tensor, offsets: np.ndarray | None = None) -> np.ndarray | None:
        """Return the logits of `probabilities`, fp32 and of its shape: what a temperature divides. None where it is None."""
        return None

    def forward(self, logits: Tensor, targets: Tensor, groups: Tensor | None = None) -> Tensor:
        return self.loss(logits, targets, groups)


def as_logits(logits: np.ndarray | Tensor, width: int) -> Tensor:
    """Return logits as an fp32 tensor (rows, width) without gradients; TrunklineError where they are not finite."""
    tensor = torch.as_tensor(logits).detach().float()
    if tensor.ndim != 2 or tensor.shape[1] != width:
        raise ValueError(f"logits of shape {tuple(tensor.shape)}, expected (rows, {width})")
    if not bool(torch.isfinite(tensor).all()):
        raise TrunklineError("the logits hold NaN or infinity, so there is nothing to decode; try a lower learning rate")
    return tensor


def divided(logits: Tensor, temperature: float | None) -> Tensor:
    """Return logits divided by a temperature, themselves where there is none."""
    return logits if temperature is None else logits / temperature
