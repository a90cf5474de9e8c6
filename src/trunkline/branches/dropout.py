"""Dropout whose random numbers are cheap on a CPU, where they would cost more than all else in a head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def drop(x: Tensor, rates: Sequence[float]) -> Tensor:
    """Drop numbers of x (n, ...), at a rate for each of the n, and scale up the others.

    On a CPU one 64-bit draw serves four values, and a rate is rounded to a multiple of 1/65536.
    """
    if not any(rates):
        return x
    same = len(set(rates)) == 1
    if x.device.type != "cpu":
        return (
            F.dropout(x, rates[0]) if same else torch.stack([F.dropout(own, rate) for own, rate in zip(x, rates, strict=True)])
        )
    draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    dropped = [min(round(rate * 65536), 65535) for rate in rates]
    if same:
        kept = draws[: x.numel()].view(x.shape) >= dropped[0] - 32768
        return x * kept.to(x.dtype).mul_(65536 / (65536 - dropped[0]))
    shape = (len(rates), *[1] * (x.ndim - 1))
    least = torch.tensor([count - 32768 for count in dropped], dtype=torch.int16).view(shape)
    scale = torch.tensor([65536 / (65536 - count) for count in dropped], dtype=x.dtype).view(shape)
    return x * (draws[: x.numel()].view(x.shape) >= least).to(x.dtype).mul_(scale)


class Dropout(nn.Dropout):
    """`nn.Dropout` with the draws of `drop`."""

    def forward(self, x: Tensor) -> Tensor:
        return drop(x[None], [self.p]).squeeze(0) if self.training else x
