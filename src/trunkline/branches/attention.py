"""Multi-head self-attention over packed rows: the numbers of `torch.nn.MultiheadAttention`, without its cost on short texts.

Side branches attend with tiny heads (4 to 16 wide) over short texts. There the fused kernel of
`scaled_dot_product_attention` spends its time setting up thousands of tiny products, and a softmax over a handful of
keys is too short for its vector loop. `_ShortAttention` does the same arithmetic as a few batched products and passes:

    e = exp(q k^T),    [o, z] = e [v, m],    result = o / z

where m is 1 for a real key and 0 for padding (v is 0 there too), so mask and sum cost one extra column and no pass over
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

from trunkline.data.batching import Layout

SHORT = 48  # longest sequence for the batched products, which hold all scores (B, heads, T, T); longer ones are as fast fused
NARROW = 16  # widest head for which they win
SAFE = 60.0  # exp of +-60, and sums of thousands of it, are normal float32 numbers


def attend(qkv: Tensor, layout: Layout, heads: int) -> Tensor:
    """Softmax attention within each sequence: softmax(q k^T / sqrt(d)) v.

    Args:
        qkv: (N, 3k), or (N, n, 3k) for n stacked branches: queries, keys and values side by side, head by head.
        layout: where each sequence's rows lie; no row sees another sequence.
        heads: heads of each branch; it divides k.

    Returns:
        Tensor: (N, k) or (N, n, k); float32 on a CPU whatever came in, as there half precision is slower.
    """
    stacks, width = qkv.shape[1:-1], qkv.shape[-1] // (3 * heads)
    batch, longest = len(layout.lengths), layout.longest
    full = layout.total == batch * longest
    padded = (qkv if full else layout.pad(qkv)).reshape(batch, longest, -1, 3, heads, width)
    mask = None if full else layout.mask
    if qkv.device.type == "cpu" and longest <= SHORT and width <= NARROW:
        out = _ShortAttention.apply(padded, mask)
    else:
        out = _fused(padded, mask)
    out = out.reshape(batch, longest, *stacks, heads * width)
    return out.flatten(0, 1) if full else layout.unpad(out)


def _fused(padded: Tensor, mask: Tensor | None) -> Tensor:
    """(B, T, n, 3, heads, d) and (B, T) to (B, T, n, heads, d) by torch's fused kernel."""
    if padded.device.type == "cpu" and padded.dtype in (torch.bfloat16, torch.float16):
        padded = padded.float()
    query, key, value = padded.permute(3, 0, 2, 4, 1, 5).flatten(2, 3)  # (B, n * heads, T, d) each
    with torch.autocast(padded.device.type, enabled=False):
        out = F.scaled_dot_product_attention(query, key, value, None if mask is None else mask[:, None, None, :])
    return out.transpose(1, 2).unflatten(2, (padded.shape[2], padded.shape[4]))


class _ShortAttention(torch.autograd.Function):
    """(B, T, n, 3, heads, d) and (B, T) to (B, T, n, heads, d); see the module's docstring."""

    @staticmethod
    @custom_fwd(device_type="cpu")
    def forward(ctx: Any, padded: Tensor, mask: Tensor | None) -> Tensor:
        batch, longest, stacks, _, heads, width = padded.shape
        dtype = torch.promote_types(padded.dtype, torch.float32)
        shape = (batch, stacks, heads, longest)
        query, key, value = padded.permute(3, 0, 2, 4, 1, 5)  # (B, n, heads, T, d) each, strided
        q, k = torch.empty(*shape, width, dtype=dtype), torch.empty(*shape, width, dtype=dtype)
        v = torch.empty(*shape, width + 1, dtype=dtype)
        q.copy_(query).mul_(width**-0.5)
        k.copy_(key)
        v[..., :width] = value
        v[..., width] = 1.0 if mask is None else mask[:, None, None, :].to(dtype)
        q, k, v = (x.view(-1, longest, x.shape[-1]) for x in (q, k, v))

        e = torch.bmm(q, k.transpose(1, 2))
        low, high = torch.aminmax(e)
        # Not within +-SAFE, or not finite: shift by the largest score of each row's real keys.
        if not (low > -SAFE and high < SAFE):
            if mask is not None:
                e.view(*shape, longest).masked_fill_(~mask[:, None, None, None, :], -torch.inf)
            e.sub_(e.amax(-1, keepdim=True))
        e.exp_()
        weighted = torch.bmm(e, v)
        scale = weighted[..., width:].reciprocal().view(*shape, 1)
        out = torch.empty(batch, longest, stacks, heads, width, dtype=dtype)
        torch.mul(weighted.view(*shape, -1)[..., :width], scale, out=out.permute(0, 2, 3, 1, 4))
        ctx.save_for_backward(q, k, v, e, out, scale)
        ctx.dtype = padded.dtype
        return out

    @staticmethod
    @once_differentiable
    @custom_bwd(device_type="cpu")
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        q, k, v, e, out, scale = ctx.saved_tensors
        batch, longest, stacks, heads, width = out.shape
        shape = (batch, stacks, heads, longest)
        g = torch.empty(*shape, width + 1, dtype=out.dtype)
        torch.mul(grad.permute(0, 2, 3, 1, 4), scale, out=g[..., :width])
        torch.mul((grad * out).sum(-1).permute(0, 2, 3, 1), scale[..., 0].neg(), out=g[..., width])
        g = g.view(-1, longest, width + 1)
        ds = torch.bmm(g, v.transpose(1, 2)).mul_(e)
        result = torch.empty(batch, longest, stacks, 3, heads, width, dtype=ctx.dtype)
        dq, dk, dv = result.permute(3, 0, 2, 4, 1, 5)
        dq.copy_(torch.bmm(ds, k).mul_(width**-0.5).view(*shape, width))
        dk.copy_(torch.bmm(ds.transpose(1, 2), q).view(*shape, width))
        dv.copy_(torch.bmm(e.transpose(1, 2), g).view(*shape, width + 1)[..., :width])
        return result, None
