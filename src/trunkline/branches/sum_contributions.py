"""What each layer of each token contributed to the logits of a `LayerSum`: AdaLayers and its kin.

    F = sum_i t_i,    t_i = share_i N(a(Z_i) W_i^T)        a row for each token
    logits = head(F) + A x,    x = sum_i share_i (m_i - mu_i) / sigma_i        m_i the mean of Z_i over the tokens

The head is no sum over layers, but F is. So what the head adds to a logit is divided by integrated gradients (Sundararajan,
Taly and Yan 2017, "Axiomatic Attribution for Deep Networks", arXiv 1703.01365) on the way from no features at all to F: layer i
of token t gets

    t_i[t] . integral from 0 to 1 of d head(s F) / dF[t] ds

As the t_i add up to F, all of these add up to head(F) - head(0), but for the error of the integral. The linear path is a sum
already: layer i of token t of T gets A share_i (Z_i[t] - mu_i) / (sigma_i T).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trunkline.branches.fold import LayerState
from trunkline.branches.head_stack import HeadStack
from trunkline.branches.normed import EPS
from trunkline.branches.products import linear
from trunkline.branches.stack import LayerSum
from trunkline.inputs.batching import Layout

STEPS = 24  # nodes of the Gauss-Legendre quadrature


def sum_contributions(own: LayerSum, states: Mapping[int, Tensor], layout: Layout) -> Tensor:
    """Contributions to the logits of texts, float32 (N, layers, C).

    Args:
        own: of a branch at text level, in evaluation mode.
        states: float32 (N, K), packed, of every layer that it reads.
        layout: where the rows of each text lie.
    """
    with torch.no_grad():
        terms = torch.stack([_term(own, layer, states[layer]) for layer in own.shares], 1)  # (N, layers, k)
    heads = HeadStack([own.head], None)
    texts = [_integrated(heads, part) for part in terms.split(layout.lengths.tolist())]
    with torch.no_grad():
        found = torch.cat(texts)
        return found if own.path is None else found + _of_path(own, states, layout)


def _term(own: LayerSum, layer: int, rows: Tensor) -> Tensor:
    """t_i, (N, k)."""
    y = linear(LayerState(rows).activated(own.activation), own.weight(layer)).float()
    return own.shares[layer] * y * (y.square().mean(1, keepdim=True) + EPS).rsqrt()


def _integrated(heads: HeadStack, terms: Tensor) -> Tensor:
    """What the head adds, of one text: (T, layers, k) to (T, layers, C)."""
    nodes, weights = (torch.from_numpy(one).float().to(terms.device) for one in np.polynomial.legendre.leggauss(STEPS))
    total, steps = terms.sum(1), (nodes + 1) / 2  # from [-1, 1] to [0, 1]
    with torch.enable_grad():
        way = (steps[:, None, None] * total).requires_grad_()  # (steps, T, k)
        layout = Layout(torch.full((STEPS,), len(total), device=terms.device))
        logits = heads(way.flatten(0, 1)[:, None], layout, [None])[0]  # (steps, C)
        sums = (weights / 2) @ logits
        slopes = [torch.autograd.grad(one, way, retain_graph=True)[0].sum(0) for one in sums]  # (T, k) of each logit
    return torch.einsum("tlk,ctk->tlc", terms, torch.stack(slopes))


def _of_path(own: LayerSum, states: Mapping[int, Tensor], layout: Layout) -> Tensor:
    """What the linear path adds, (N, layers, C)."""
    path = own.path
    assert path is not None
    length = layout.lengths[layout.sequence_of][:, None].float()
    parts = []
    for layer, share in own.shares.items():
        row = path.layers.index(layer)
        parts.append(F.linear(share * (states[layer] - path.mean[row]) * path.scale[row] / length, path.weight))
    return torch.stack(parts, 1)
