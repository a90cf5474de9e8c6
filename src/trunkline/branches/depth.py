"""The price of depth: a pass through the trunk ends at the deepest layer read, so reading lower layers alone costs less.

    price = depth_penalty * sum_i p~_i i / l

p~ are the weights of the layers that are read, and l is the number of the trunk's blocks: the expected depth of the layer
distribution, as a share of the whole trunk. It is added to the loss of every batch. The embeddings (layer 0) are free, and a
weight that moves from layer i to layer j < i saves depth_penalty * (i - j) / l of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trunkline.branches.fold import TrunkShape

NOTHING = 200.0  # e^-200 is 0 in float32: how far below all others a logit of a softmax is to be, to have no weight


def expected_depth(layers: Sequence[int], weights: Tensor, trunk: TrunkShape) -> Tensor:
    """sum_i p~_i i / l, 0 to 1, differentiable in the weights p~ (as many as layers, summing to 1)."""
    return weights @ weights.new_tensor(layers) / trunk.num_layers


@torch.no_grad()
def silence(logits: Tensor, dropped: Sequence[int], sharpness: float = 1.0) -> None:
    """Put those of `logits` at the places `dropped` so low that softmax(sharpness * logits) is 0 there; in place."""
    if dropped:
        logits[list(dropped)] = logits.min() - NOTHING / sharpness
