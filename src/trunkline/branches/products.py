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
    kind = x.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
    rows = x.numel() // x.shape[-1]
    if kind != "cpu" or dtype != torch.bfloat16 or rows % GRAIN == 0:
        return F.linear(x, weight, bias)
    flat = F.pad(x.to(dtype).reshape(rows, x.shape[-1]), (0, 0, 0, -rows % GRAIN))
    return F.linear(flat, weight, bias)[:rows].view(*x.shape[:-1], -1)
