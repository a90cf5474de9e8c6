"""Which features matter, by a linear map with a group lasso over the weights of each: the selection of Head2Toe (Evci et al.
2022, arXiv 2201.03529, section 3).

    minimise  loss(X W^T + b) + lambda sum_j |W_j|_2        W_j: the weights (C,) of feature j
    score of feature j = |W_j|^2

The arithmetic is that of the published code (github.com/google-research/head2toe): Glorot-uniform weights, b at 0, Adam as
Keras has it with cosine decay to 0, batches of 128 examples in the order given, again and again.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

BATCH = 128
BETAS, EPS = (0.9, 0.999), 1e-7


def unit(x: Tensor) -> Tensor:
    """x (..., n) divided by its Euclidean norm; zeros stay zeros."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / torch.where(norm > 0, norm, 1.0)


def feature_scores(
    features: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    weight: Tensor,
    *,
    penalty: float,
    steps: int,
    learning_rate: float,
) -> Tensor:
    """Train a linear map with a group lasso and return the score of each feature, (D,).

    Args:
        features: (M, D).
        loss: the mean loss of logits (m, C) for the examples with the numbers (m,).
        weight: (C, D), of the beginning; trained in place.
        penalty: lambda.
        steps: of Adam.
        learning_rate: at the first step.
    """
    with torch.enable_grad():
        weight = weight.requires_grad_()
        bias = weight.detach().new_zeros(len(weight)).requires_grad_()
        optimizer = torch.optim.Adam([weight, bias], lr=learning_rate, betas=BETAS)
        batches = torch.arange(len(features)).split(BATCH)
        for step in range(steps):
            numbers = batches[step % len(batches)]
            logits = features[numbers].to(weight.device) @ weight.T + bias
            group = optimizer.param_groups[0]
            group["lr"] = learning_rate * 0.5 * (1 + math.cos(math.pi * step / steps))
            # Keras adds its eps to the root of the second moment before the correction of its bias, torch after it.
            group["eps"] = EPS / math.sqrt(1 - BETAS[1] ** (step + 1))
            optimizer.zero_grad()
            total = loss(logits, numbers) + penalty * torch.linalg.vector_norm(weight, dim=0).sum()
            (total * (len(numbers) / BATCH)).backward()  # the sum over the batch, divided by the size of a whole one
            optimizer.step()
    return weight.detach().square().sum(0)


def largest(scores: Tensor, count: int) -> Tensor:
    """The numbers of the `count` largest scores, rising; of equal ones the first."""
    return torch.argsort(scores, descending=True, stable=True)[:count].sort().values
