"""A linear map of pooled layer states whose logits are added to those of a head: a probe (Alain and Bengio 2016) in the branch.

    logits = head(F) + A x,    x = sum_i p~_i (m_i - mu_i) / sigma_i

m_i is the mean of the states of layer i over the tokens of a text; mu_i and sigma_i are the mean and the standard deviation of
m_i, for each of the K numbers, over texts of the training set: measured before training, and saved with the branch. A starts
at 0. p~ are the layer weights of the branch, so a layer that is cut off is not read for this either.

Pooled states of transformers have a large mean that all texts share, and vary little around it: without mu and sigma, a linear
map on them needs another learning rate than the head, and many more steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALLEST = 1e-6  # a standard deviation below is that of a number which all texts share


class LinearPath(nn.Module):
    """See the module's docstring.

    Args:
        layers: whose states may be read.
        width: K.
        outputs: C, how many logits.
    """

    def __init__(self, layers: Sequence[int], width: int, outputs: int) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.weight = nn.Parameter(torch.zeros(outputs, width))  # A
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.zeros(len(self.layers), width))  # mu
        self.register_buffer("scale", torch.ones(len(self.layers), width))  # 1 / sigma

    @torch.no_grad()
    def standardise(self, moments: Mapping[int, tuple[Tensor, Tensor]]) -> None:
        """Take over the mean and the standard deviation, (K,) each, of every layer; what does not vary is left out."""
        for row, layer in enumerate(self.layers):
            mean, deviation = moments[layer]
            self.mean[row] = mean
            self.scale[row] = torch.where(deviation > SMALLEST, 1 / deviation.clamp(min=SMALLEST), 0.0)


class PathStack:
    """The linear paths of n branches as one. Nothing in it changes when it is used.

    Args:
        paths: of the branches, in order; how many outputs each has may differ.
        shares: by layer, the weights (r, 1) of the branches that read it.
        readers: by layer, their places among the n, rising.
        frozen: copy the weights. Otherwise gradients reach the branches.
    """

    def __init__(
        self, paths: Sequence[LinearPath], shares: Mapping[int, Tensor], readers: Mapping[int, Sequence[int]], frozen: bool
    ) -> None:
        self.count, self.factors, self.places = len(paths), dict[int, Tensor](), dict[int, Tensor | None]()
        self.weights = [path.weight.detach().float().clone() if frozen else path.weight for path in paths]
        self.offset: Tensor | float = 0.0  # (n, K): sum_i p~_i mu_i / sigma_i
        for layer, share in shares.items():
            own = [(paths[i], paths[i].layers.index(layer)) for i in readers[layer]]
            factor = share * torch.stack([path.scale[row] for path, row in own])  # (r, K)
            offset = factor * torch.stack([path.mean[row] for path, row in own])
            place = None if len(own) == self.count else torch.tensor(readers[layer], device=share.device)
            self.factors[layer], self.places[layer] = factor, place
            self.offset = self.offset + (offset if place is None else _spread(offset, place, self.count))

    def add(self, total: Tensor | None, layer: int, pooled: Tensor) -> Tensor:
        """The sum (B, n, K) with the pooled states (B, K) of a layer in it."""
        values, place = pooled[:, None] * self.factors[layer], self.places[layer]
        if place is not None:
            values = _spread(values, place, self.count)
        return values if total is None else total + values

    def logits(self, total: Tensor) -> list[Tensor]:
        """A x of each branch, (B, C), not in half precision."""
        with torch.autocast(total.device.type, enabled=False):
            x = total - self.offset
            return [F.linear(x[:, number], weight) for number, weight in enumerate(self.weights)]


def _spread(values: Tensor, place: Tensor, count: int) -> Tensor:
    """(..., r, K) to (..., n, K), with zeros at the places of others."""
    return values.new_zeros(*values.shape[:-2], count, values.shape[-1]).index_copy(-2, place, values)
