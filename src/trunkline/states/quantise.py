"""Layer states in one byte a number: symmetric int8 with a scale for each token.

Per-token absmax scaling as in LLM.int8() (Dettmers et al. 2022, https://arxiv.org/abs/2208.07339, section 2.1), without
its separate treatment of outlier columns: scale = max|x| / 127, q = round(x / scale), so |x - q * scale| <= scale / 2.
"""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST = torch.finfo(torch.float32).tiny  # keeps the division defined for a token whose state is all zeros


def quantise(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return (int8 (N, K), float32 scales (N,)) of rows (N, K); a row with NaN or infinity gives a scale that is not finite."""
    rows = rows.float()
    scales = (rows.abs().amax(dim=1) / 127).clamp_min(SMALLEST)
    return torch.round(rows / scales[:, None]).clamp_(-127, 127).to(torch.int8), scales


def dequantise(numbers: Tensor, scales: Tensor, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """Return the rows (N, K) in `dtype` of `quantise`'s two tensors; the product is rounded once, from float32."""
    return numbers.float().mul_(scales[:, None]).to(dtype)
