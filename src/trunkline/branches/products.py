"""Matrix products whose number of rows changes with every batch.

On a CPU, torch computes bf16 products with kernels that oneDNN generates for one exact shape: 1.5 ms to generate the
forward one and 7 ms those of the backward pass, for a product that takes 0.3 ms (2,000 x 384 by 128, one core). Packed
batches have hundreds of different row counts. Rounded up to a multiple of GRAIN they have a few, and the kernels are reused.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

GRAIN = 128  # rows; at most this many rows of zeros are added


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear`: x (..., in), weight (out, in), bias (out,) to (..., out), in the autocast dtype if any."""
    rows = x.numel() // x.shape[-1]
    if not (lacking := _lacking(x, rows)):
        return F.linear(x, weight, bias)
    flat = F.pad(x.to(torch.bfloat16).reshape(rows, x.shape[-1]), (0, 0, 0, lacking))
    return F.linear(flat, weight, bias)[:rows].view(*x.shape[:-1], -1)


def linears(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """n of them at once: x (n, ..., in), weight (n, out, in), bias (n, out) to (n, ..., out)."""
    if len(x) == 1:
        return linear(x.squeeze(0), weight.squeeze(0), bias.squeeze(0))[None]  # its gradient is a view, that of x[0] a copy
    flat = x.reshape(len(x), -1, x.shape[-1])
    rows = flat.shape[1]
    if lacking := _lacking(x, rows):
        flat = F.pad(flat.to(torch.bfloat16), (0, 0, 0, lacking))
    return torch.baddbmm(bias[:, None], flat, weight.mT)[:, :rows].unflatten(1, x.shape[1:-1])


def _lacking(x: Tensor, rows: int) -> int:
    """How many rows of zeros a bf16 product on a CPU needs."""
    if x.device.type != "cpu":
        return 0
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    return -rows % GRAIN if dtype == torch.bfloat16 else 0
