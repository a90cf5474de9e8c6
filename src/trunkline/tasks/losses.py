"""Cross-entropy and focal loss over classes.

Focal loss: Lin, Goyal, Girshick, He, Dollar, "Focal loss for dense object detection", ICCV 2017, equation 5:
FL(p_t) = -w_t (1 - p_t)^gamma log(p_t), where p_t is the probability of the right class. gamma = 0 is cross-entropy.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    weights: Tensor | None = None,
    gamma: float = 0.0,
    rows: Tensor | None = None,
) -> Tensor:
    """Return the (weighted) mean focal loss, a scalar in fp32; with gamma 0 it is cross-entropy.

    Args:
        logits: (M, C).
        targets: (M,) class numbers.
        weights: (C,) a weight per class; the mean is over the sum of the rows' weights, as in torch's cross_entropy.
        gamma: how much well classified rows are played down.
        rows: (M,) what the loss of each row is multiplied by; it does not change what the sum is divided by.
    """
    logits, targets = logits.float(), targets.long()
    weights = None if weights is None else weights.to(logits.device)  # whole splits are judged on the CPU
    if gamma == 0.0 and rows is None:
        return F.cross_entropy(logits, targets, weight=weights)
    log_p = F.log_softmax(logits, dim=-1).gather(1, targets[:, None])[:, 0]  # (M,)
    # -expm1(log p) is 1 - p without cancellation; the floor keeps the gradient of x^gamma finite for gamma < 1.
    losses = -((-torch.expm1(log_p)).clamp_min(1e-12) ** gamma) * log_p if gamma else -log_p
    if rows is not None:
        losses = rows.to(losses) * losses
    if weights is None:
        return losses.mean()
    own = weights[targets]
    return (own * losses).sum() / own.sum()
