"""Multi-head self-attention: the numbers of `torch.nn.MultiheadAttention`, without its cost on short texts.

Side branches attend with tiny heads (4 to 16 wide) over short texts. There the fused kernel of
`scaled_dot_product_attention` spends its time setting up thousands of tiny products, and a softmax over a handful of
keys is too short for its vector loop. `_ShortAttention` does the same arithmetic as a few batched products and passes:

    e = exp(q k^T),    [o, z] = e [v, m],    result = o / z

where m is 1 for a real key and 0 for padding (and v is set to 0 there), so mask and sum cost one extra column and no pass over
the scores. The usual shift by the row's maximum is made only when the scores are large enough to need it; it cancels in
o / z. The backward pass is written out likewise: with g the gradient and D = sum(g * result),

    dS = e * ([g, -D] / z) [v, m]^T,    dq = dS k,    dk = dS^T q,    dv = e^T (g / z).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.amp import custom_bwd, custom_fwd
from torch.autograd.function import once_differentiable

SHORT, SHORT_TO_TRAIN = 16, 48  # longest sequences for which the batched products win: always, and with gradients
NARROW = 8  # widest head for which they do so with gradients beyond SHORT
SAFE = 60.0  # exp of +-60, and sums of thousands of it, are normal float32 numbers


def attend(qkv: Tensor, mask: Tensor | None, heads: int) -> Tensor:
    """Softmax attention within each sequence: softmax(q k^T / sqrt(d)) v.

    Args:
        qkv: (B, T, 3k), or (B, T, n, 3k) for n stacked branches: queries, keys and values side by side, head by head.
        mask: (B, T), true where a row is real, padding on the right; None if all are. No row sees padding.
        heads: heads of each branch; it divides k.

    Returns:
        Tensor: (B, T, k) or (B, T, n, k), without meaning on padding; float32 on a CPU whatever came in, as there half
        precision is slower.
    """
    batch, longest, *stacks, width = qkv.shape
    width //= 3 * heads
    apart = qkv.reshape(batch, longest, -1, 3, heads, width)
    most = SHORT_TO_TRAIN if width <= NARROW and qkv.requires_grad else SHORT
    short = qkv.device.type == "cpu" and longest <= most
    out = _ShortAttention.apply(apart, mask) if short else _fused(apart, mask)
    return out.reshape(batch, longest, *stacks, heads * width)


def _fused(apart: Tensor, mask: Tensor | None) -> Tensor:
    """(B, T, n, 3, heads, d) and (B, T) to (B, T, n, heads, d) by torch's fused kernel."""
    if apart.device.type == "cpu" and apart.dtype in (torch.bfloat16, torch.float16):
        apart = apart.float()
    query, key, value = apart.permute(3, 0, 2, 4, 1, 5).flatten(2, 3)  # (B, n * heads, T, d) each
    with torch.autocast(apart.device.type, enabled=False):
        out = F.scaled_dot_product_attention(query, key, value, None if mask is None else mask[:, None, None, :])
    return out.transpose(1, 2).unflatten(2, (apart.shape[2], apart.shape[4]))


class _ShortAttention(torch.autograd.Function):
    """(B, T, n, 3, heads, d) and (B, T) to (B, T, n, heads, d); see the module's docstring.

    All matrices lie transposed, (d, T), as d is often too small for a vector and T is not.
    """

    @staticmethod
    @custom_fwd(device_type="cpu")
    def forward(ctx: Any, apart: Tensor, mask: Tensor | None) -> Tensor:
        batch, longest, stacks, _, heads, width = apart.shape
        dtype = torch.promote_types(apart.dtype, torch.float32)
        shape = (batch, stacks, heads)
        query, key, value = apart.permute(3, 0, 2, 4, 5, 1)  # (B, n, heads, d, T) each, strided
        q, k = torch.empty(*shape, width, longest, dtype=dtype), torch.empty(*shape, width, longest, dtype=dtype)
        v = torch.empty(*shape, width + 1, longest, dtype=dtype)
        q.copy_(query).mul_(width**-0.5)
        k.copy_(key)
        if mask is None:
            v[..., :width, :], v[..., width, :] = value, 1.0
        else:
            real = mask.to(dtype)[:, None, None, None, :]
            torch.mul(value, real, out=v[..., :width, :])
            v[..., width:, :] = real
        q, k, v = (x.flatten(0, 2) for x in (q, k, v))

        e = torch.bmm(q.mT, k)
        low, high = torch.aminmax(e)
        # Not within +-SAFE, or not finite: shift by the largest score of each row's real keys.
        if not (low > -SAFE and high < SAFE):
            if mask is not None:
                e.view(*shape, longest, longest).masked_fill_(~mask[:, None, None, None, :], -torch.inf)
            e.sub_(e.amax(-1, keepdim=True))
        e.exp_()
        weighted = torch.bmm(v, e.mT)
        scale = weighted[:, width:].reciprocal()
        result = weighted[:, :width] * scale
        out = torch.empty(batch, longest, stacks, heads, width, dtype=dtype)
        out.permute(0, 2, 3, 4, 1).copy_(result.view(*shape, width, longest))
        ctx.save_for_backward(q, k, v, e, result, scale)
        ctx.given, ctx.mask = (apart.dtype, apart.shape), mask
        return out

    @staticmethod
    @once_differentiable
    @custom_bwd(device_type="cpu")
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        q, k, v, e, result, scale = ctx.saved_tensors
        dtype, (batch, longest, stacks, _, heads, width) = ctx.given
        shape = (batch, stacks, heads)
        g = torch.empty_like(v)
        g[:, :width].view(*shape, width, longest).copy_(grad.permute(0, 2, 3, 4, 1))
        g[:, :width].mul_(scale)
        torch.sum(g[:, :width] * result, 1, out=g[:, width]).neg_()
        ds = torch.bmm(g.mT, v).mul_(e)
        gradient = torch.empty(batch, longest, stacks, 3, heads, width, dtype=dtype)
        dq, dk, dv = gradient.permute(3, 0, 2, 4, 5, 1)
        dq.copy_(torch.bmm(k, ds.mT).mul_(width**-0.5).view(*shape, width, longest))
        dk.copy_(torch.bmm(q, ds).view(*shape, width, longest))
        gv = torch.bmm(g, e).view(*shape, width + 1, longest)[..., :width, :]
        dv.copy_(gv if ctx.mask is None else gv.mul_(ctx.mask[:, None, None, None, :]))
        return gradient, None
