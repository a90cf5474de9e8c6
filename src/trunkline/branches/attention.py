"""Multi-head self-attention: the numbers of `torch.nn.MultiheadAttention`, without its cost for tiny heads on a CPU.

Side branches attend with tiny heads, 4 to 16 wide. There the fused kernel of `scaled_dot_product_attention` spends its
time setting up thousands of tiny products. `TinyHeads` does the same arithmetic as a few batched products and passes:

    e = exp(k^T q),    [o; z] = [v; m] e,    result = o / z

where m is 1 for a real key and 0 for padding (and v is set to 0 there), so mask and sum cost one extra row and no pass
over the scores. Matrices lie transposed, (d, T), as d is too small for a vector and T is not; scores lie (keys, queries).
The usual shift by the largest score is made only when the scores are large enough to need it; it cancels in o / z. A few
sequences' scores at a time stay in the cache. The backward pass is written out likewise: with g the gradient and
D = sum(g * result),

    dS = e * [v; m]^T ([g; -D] / z),    dq = k dS,    dk = q dS^T,    dv = (g / z) e^T.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

TINY = 8  # widest head, and
SHORT = 12  # longest sequence, for either of which `TinyHeads` is the faster
SCORES = 1 << 18  # worked on at a time: a megabyte of them
SAFE = 60.0  # exp of +-60, and sums of thousands of it, are normal float32 numbers


def attend(x: Tensor, weight: Tensor, bias: Tensor, mask: Tensor | None, heads: int) -> Tensor:
    """Self-attention within each sequence, before its output map: softmax(q k^T / sqrt(d)) v of every head, side by side.

    Args:
        x: (B, T, k), or (n, B, T, k) for n stacked branches.
        weight, bias: (3k, k) and (3k,), or with n in front: to queries, keys and values, as `nn.MultiheadAttention` has them.
        mask: (B, T), true where a row is real, padding on the right; None if all are. No row sees padding.
        heads: heads of each branch; it divides k.

    Returns:
        Tensor: as x, without meaning on padding; float32 on a CPU whatever came in, as there half precision is slower.
    """
    if x.ndim == 4 and len(x) == 1:
        return attend(x.squeeze(0), weight.squeeze(0), bias.squeeze(0), mask, heads)[None]
    batch, longest, width = *x.shape[-3:-1], x.shape[-1] // heads
    rows, place = x.flatten(-3, -2), (batch, longest)
    affine = torch.addmm if x.ndim == 3 else torch.baddbmm
    if x.device.type == "cpu" and (width <= TINY or longest <= SHORT):
        qkv = affine(bias[..., None], weight, rows.mT)  # (..., 3k, B * T)
        out = TinyHeads.apply(qkv.reshape(-1, 3, heads, width, *place), mask)
        return out.reshape(*x.shape[:-3], -1, batch * longest).mT.unflatten(-2, place)
    qkv = affine(bias[..., None, :], rows, weight.mT)  # (..., B * T, 3k)
    if x.device.type == "cpu":
        qkv = qkv.to(torch.promote_types(qkv.dtype, torch.float32))
    query, key, value = qkv.reshape(-1, *place, 3, heads, width).permute(3, 0, 1, 4, 2, 5)  # (n, B, heads, T, d) each
    with torch.autocast(x.device.type, enabled=False):
        out = F.scaled_dot_product_attention(query, key, value, None if mask is None else mask[:, None, None, :])
    return out.transpose(-3, -2).reshape(x.shape)


def _parts(matrices: int, longest: int) -> list[slice]:
    step = max(1, SCORES // longest**2)
    return [slice(start, min(start + step, matrices)) for start in range(0, matrices, step)]


class TinyHeads(torch.autograd.Function):
    """(n, 3, heads, d, B, T) and (B, T) to (n, heads, d, B, T); see the module's docstring."""

    @staticmethod
    @torch.autocast("cpu", enabled=False)
    def forward(ctx: Any, apart: Tensor, mask: Tensor | None) -> Tensor:
        stacks, _, heads, width, batch, longest = apart.shape
        dtype = torch.promote_types(apart.dtype, torch.float32)
        shape = (stacks, heads, batch)
        query, key, value = apart.permute(1, 0, 2, 4, 3, 5)  # (n, heads, B, d, T) each, strided
        q, k = torch.empty(*shape, width, longest, dtype=dtype), torch.empty(*shape, width, longest, dtype=dtype)
        v = torch.empty(*shape, width + 1, longest, dtype=dtype)
        q.copy_(query).mul_(width**-0.5)
        k.copy_(key)
        real = None if mask is None else mask.to(dtype)[:, None, :]
        v[..., width:, :] = 1.0 if real is None else real
        v[..., :width, :] = value
        if real is not None:
            v[..., :width, :] *= real
        q, k, v = (x.flatten(0, 2) for x in (q, k, v))

        keep = apart.requires_grad
        parts = _parts(len(q), longest)
        e = torch.empty(len(q) if keep else parts[0].stop, longest, longest, dtype=dtype)
        out = torch.empty_like(v)
        # No score is larger than that: mostly it is small, and the scores need no look.
        safe = bool(width * _largest(q) * _largest(k) < SAFE)
        for part in parts:
            scores = e[part] if keep else e[: part.stop - part.start]
            torch.bmm(k[part].mT, q[part], out=scores)
            if not safe:
                _shift(scores, v[part, width, :, None] > 0)
            scores.exp_()
            torch.bmm(v[part], scores, out=out[part])
        scale = out[:, width:].reciprocal()
        result = out[:, :width].mul_(scale)
        if keep:
            ctx.save_for_backward(q, k, v, e, result, scale)
            ctx.shape, ctx.dtype = shape, apart.dtype
        return result.unflatten(0, shape).transpose(2, 3).contiguous()

    @staticmethod
    @once_differentiable
    @torch.autocast("cpu", enabled=False)
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        q, k, v, e, result, scale = ctx.saved_tensors
        stacks, heads, batch = ctx.shape
        count, width, longest = result.shape
        g = torch.empty_like(v)
        torch.mul(grad.transpose(2, 3), scale.unflatten(0, ctx.shape), out=g[:, :width].unflatten(0, ctx.shape))
        torch.sum(g[:, :width] * result, 1, out=g[:, width]).neg_()
        dq, dk, dv = torch.empty_like(q), torch.empty_like(q), torch.empty_like(v)
        for part in _parts(count, longest):
            ds = torch.bmm(v[part].mT, g[part]).mul_(e[part])
            torch.bmm(k[part], ds, out=dq[part])
            torch.bmm(q[part], ds.mT, out=dk[part])
            torch.bmm(g[part], e[part].mT, out=dv[part])
        gradient = torch.empty(stacks, 3, heads, width, batch, longest, dtype=ctx.dtype)
        torch.mul(dq.unflatten(0, ctx.shape), width**-0.5, out=gradient[:, 0].transpose(2, 3))
        gradient[:, 1].transpose(2, 3).copy_(dk.unflatten(0, ctx.shape))
        # Padding took no part (its m is 0), so its values have no gradient.
        torch.mul(dv[:, :width], v[:, width:], out=dv[:, :width])
        gradient[:, 2].transpose(2, 3).copy_(dv[:, :width].unflatten(0, ctx.shape))
        return gradient, None


def _largest(x: Tensor) -> Tensor:
    """The largest absolute value; nan if there is one."""
    low, high = torch.aminmax(x)
    return torch.maximum(-low, high)


def _shift(scores: Tensor, real: Tensor) -> None:
    """Make exp of the scores (M, keys, queries) safe, if it is not: the largest of each query's real keys becomes 0."""
    low, high = torch.aminmax(scores)
    if not (low > -SAFE and high < SAFE):  # also when they are not finite
        scores.masked_fill_(~real, -torch.inf)
        scores.sub_(scores.amax(1, keepdim=True))
