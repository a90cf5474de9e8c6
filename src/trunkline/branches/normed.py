"""Normalised, weighted and added up, in one step: the sum of AdaLayers without what a layer norm would hold and pass over.

With W' = (I - 11^T / k) W, y = a(Z) W'^T is centred already, so layer norm over its k numbers is one scale:

    total += share * m * y / sqrt(mean(y^2) + eps)

m is 1, or what dropout makes of it. With s = 1 / sqrt(mean(y^2) + eps), g the gradient of the total and h = g m, the
gradients are

    d share = sum(h s y)        d y = share s (h - s^2 y sum(h y) / k)

A few rows at a time, so that what is between stays in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

EPS = 1e-5  # of torch's layer norm
AT_ONCE = 1 << 19  # numbers of y


def centred(weight: Tensor) -> Tensor:
    """W' of W (k, K)."""
    return weight - weight.mean(0)


def add_normed(total: Tensor, y: Tensor, share: Tensor, readers: list[int], mask: Tensor | None) -> Tensor:
    """Return the total with y in it, which may be the same memory.

    Args:
        total: (N, n, k), float32 or float64; not used again by the caller.
        y: (N, r, k), centred, of the r branches that read the layer.
        share: (r, 1).
        readers: the r places of these branches among the n, rising.
        mask: as y, what to multiply with it after it is normalised; None is 1.
    """
    return _AddNormed.apply(total, y, share, readers, mask)


class _AddNormed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, total: Tensor, y: Tensor, share: Tensor, readers: list[int], mask: Tensor | None) -> Tensor:
        ctx.mark_dirty(total)
        width, runs = y.shape[-1], _runs(readers)
        scales = total.new_empty(*y.shape[:2], 1)
        space = None if y.dtype == total.dtype else total.new_empty(_step(y), *y.shape[1:])
        for part in _parts(y):
            z = y[part] if space is None else space[: len(scales[part])].copy_(y[part])
            scale = torch.linalg.vector_norm(z, dim=-1, keepdim=True, out=scales[part])
            scale.square_().div_(width).add_(EPS).rsqrt_()
            weight = scale * share
            if mask is not None:
                z = z * mask[part]
            for first, last, place in runs:
                own = slice(place, place + last - first)
                total[part, first:last].addcmul_(z[:, own], weight[:, own])
        ctx.save_for_backward(y, share, scales, mask)
        ctx.readers = None if len(readers) == total.shape[1] else readers
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        y, share, scales, mask = ctx.saved_tensors
        width, dy, dshare = y.shape[-1], torch.empty_like(y), torch.zeros_like(share)
        for part in _parts(y):
            h = grad[part] if ctx.readers is None else grad[part][:, ctx.readers]
            if mask is not None:
                h = h * mask[part]
            z, scale = y[part].to(grad.dtype), scales[part]
            weight = scale * share
            dot = (h * z).sum(-1, keepdim=True)
            dshare += (dot * scale).sum(0)
            dy[part] = (h * weight).addcmul_(z, dot.mul_(weight).mul_(scale).mul_(scale).div_(-width))
        return grad, dy, dshare, None, None


def _parts(y: Tensor) -> Iterator[slice]:
    step = _step(y)
    return (slice(start, start + step) for start in range(0, len(y), step))


def _step(y: Tensor) -> int:
    return max(1, min(len(y), AT_ONCE // (y.shape[1] * y.shape[2])))


def _runs(numbers: list[int]) -> list[tuple[int, int, int]]:
    """Neighbouring numbers as (first, last + 1, place of the first): [0, 1, 4] is (0, 2, 0), (4, 5, 2)."""
    runs: list[tuple[int, int, int]] = []
    for place, number in enumerate(numbers):
        if runs and runs[-1][1] == number:
            runs[-1] = (runs[-1][0], number + 1, runs[-1][2])
        else:
            runs.append((number, number + 1, place))
    return runs
