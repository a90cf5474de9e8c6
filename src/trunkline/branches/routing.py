"""Routing of layer states to classes (Heinsen 2022, "An Algorithm for Routing Vectors in Sequences").

The states of all layers of all tokens of a text, normalised, x_i = N(Z) * w + b with a w and a b for each layer, are one
sequence of vectors. Three routings in a row make of it `vectors` vectors, as many again, and one number for each class. Each
routing (routed.py) improves its outputs iteratively by how well they predict its inputs, and says how much each input
contributed to each output; the product of these over the three is what each layer of each token contributed to a class.

For words, the layers of each word are a sequence of their own.

The published code (github.com/glassroom/heinsen_routing, and heinsen_routing_2022_paper for the head) is followed;
docs/methods.md has the differences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from trunkline.branches.fold import BranchConfig, LayerState, Output, SideBranch, TrunkShape, methods
from trunkline.branches.head_stack import padded
from trunkline.branches.layer_choice import choose_layers
from trunkline.branches.routed import VectorRouting
from trunkline.inputs.batching import Layout

EPS = 1e-5  # of a division by a standard deviation, as in the published code
MOMENTUM = 0.01  # of the running mean of the layers' shares
UNIT_VECTORS, UNIT_DIM = 8, 64  # for words, of which there are many more than texts

Carry = dict[int, Tensor]  # by layer, (N, K): a second iteration reads all of them again


class RoutingConfig(BranchConfig):
    """`method: {name: routing}`."""

    name: Literal["routing"] = "routing"
    layers: list[int] | str | None = Field(None, description='layers to route: [1, 3], "0-6"; all states by default')
    vectors: int | None = Field(
        None, ge=2, description=f"vectors between the routings; 64 for texts and {UNIT_VECTORS} for words by default"
    )
    dim: int | None = Field(None, ge=2, description=f"their width; the trunk's for texts and {UNIT_DIM} for words by default")
    iterations: int = Field(2, ge=2, le=100, description="of each routing")


@methods.register("routing")
class Routing(SideBranch):
    """See the module's docstring."""

    Config: ClassVar[type[BranchConfig]] = RoutingConfig
    per_token = True

    def __init__(self, config: Any, trunk: TrunkShape, output: Output) -> None:
        super().__init__(config, trunk, output)
        self.layers, hidden, unit = choose_layers(config.layers, trunk), trunk.hidden_size, output.level == "unit"
        vectors = config.vectors or (UNIT_VECTORS if unit else 64)
        dim = config.dim or (UNIT_DIM if unit else hidden)
        self.scale = nn.Parameter(torch.ones(len(self.layers), hidden))  # w
        self.shift = nn.Parameter(torch.zeros(len(self.layers), hidden))  # b
        self.first = VectorRouting(None, vectors, hidden, dim, config.iterations)
        self.second = VectorRouting(vectors, vectors, dim, dim, config.iterations)
        self.last = VectorRouting(vectors, output.size, dim, 1, config.iterations)
        self.shares: Tensor  # of each layer in what was contributed, a running mean over batches of training
        self.register_buffer("shares", torch.full((len(self.layers),), 1 / len(self.layers)))

    def read(self, carry: Carry | None, layer: int, state: LayerState) -> Carry | None:
        if layer not in self.layers:
            return carry
        return {**(carry or {}), layer: self._normalised(layer, state.widened())}

    def _normalised(self, layer: int, rows: Tensor) -> Tensor:
        row = self.layers.index(layer)
        return F.layer_norm(rows, (self.trunk.hidden_size,)) * self.scale[row] + self.shift[row]

    def finish(self, carry: Carry | None, layout: Layout, rows: Tensor | None = None) -> Tensor:
        logits, contributed = self._routed(*self._sequences(carry, layout, rows))
        if self.training and torch.is_grad_enabled():
            self._note(*contributed)
        return logits

    @torch.no_grad()
    def contributions(self, carry: Carry | None, layout: Layout, rows: Tensor | None = None) -> Tensor:
        """How much each layer of each token contributed to each output: the product of phi over the routings.

        Contributions may be added up, over tokens or over layers. Those to a text (unit level: to a word) are divided by their
        standard deviation, as in the published code, so that those of different texts can be compared.

        Args:
            carry, layout, rows: as in `finish`.

        Returns:
            Tensor: float32 (N, layers, C), in the order of `layers`; (len(rows), layers, C) at unit level.
        """
        first, second, last = self._routed(*self._sequences(carry, layout, rows))[1]
        unit = self.output.level == "unit"
        together = first[0] if unit else layout.unpad(torch.stack(first, 2))  # (M or N, layers, J)
        own = zip(together.split(1 if unit else layout.lengths.tolist()), second[0], last[0], strict=True)
        with torch.autocast(self.scale.device.type, enabled=False):
            return torch.cat([_chained(*phi) for phi in own])

    def _sequences(
        self, carry: Carry | None, layout: Layout, rows: Tensor | None
    ) -> tuple[list[Tensor], Tensor | float, Tensor | None]:
        """What the first routing is given: its inputs in parts, their number, and which are real."""
        carry = carry or {}
        if missing := [layer for layer in self.layers if layer not in carry]:
            raise ValueError(f"layers {missing} are required but were not read")
        if self.output.level == "unit":
            own = torch.stack([carry[layer] for layer in self.layers], 1)  # (N, layers, K)
            return [own if rows is None else own[rows]], len(self.layers), None
        parts = [padded(carry[layer], layout) for layer in self.layers]
        return [x for x, _ in parts], layout.lengths * float(len(parts)), parts[0][1]

    def _routed(
        self, parts: Sequence[Tensor], count: Tensor | float, real: Tensor | None
    ) -> tuple[Tensor, tuple[list[Tensor], list[Tensor], list[Tensor]]]:
        """The logits (B, C) of sequences, and phi of the three routings."""
        # Small differences between inputs decide what they contribute, and sums over them are long: not in half precision.
        with torch.autocast(self.scale.device.type, enabled=False):
            y, first = self.first(parts, count, real)
            y, second = self.second([y], self.first.outputs)
            y, last = self.last([y], self.second.outputs)
        return y.squeeze(-1), (first, second, last)

    @torch.no_grad()
    def _note(self, first: list[Tensor], second: list[Tensor], last: list[Tensor]) -> None:
        """Take the layers' shares in what was contributed to a batch, by absolute value, into their running mean."""
        with torch.autocast(self.scale.device.type, enabled=False):
            through = second[0] @ last[0]  # (B, J, C)
            credits = [(part @ through).abs().sum(2) for part in first]  # (B, layers) of words, (B, T) a layer of texts
        sizes = credits[0] if self.output.level == "unit" else torch.stack([own.sum(1) for own in credits], 1)
        shares = (sizes / sizes.sum(1, keepdim=True)).mean(0)
        if torch.isfinite(shares).all():
            self.shares.lerp_(shares, MOMENTUM)

    def dense(self, states: Mapping[int, Tensor], mask: Tensor) -> Tensor:
        parts = [self._normalised(layer, states[layer]) for layer in self.layers]
        if self.output.level == "unit":
            together = torch.stack(parts, 2).flatten(0, 1)  # (B * T, layers, K)
            return self._routed([together], len(parts), None)[0].unflatten(0, mask.shape)
        return self._routed(parts, mask.sum(1) * float(len(parts)), mask)[0]

    @torch.no_grad()
    def layer_weights(self) -> dict[int, float]:
        """The layers' shares in what was contributed to training texts, by absolute value: a running mean."""
        return dict(zip(self.layers, (self.shares / self.shares.sum()).tolist(), strict=True))


def _chained(first: Tensor, second: Tensor, last: Tensor) -> Tensor:
    """The product of phi over the routings of one sequence, scaled after each: (..., J), (J, J) and (J, C) to (..., C)."""
    found = first / (first.std() + EPS)
    for phi in (second, last):
        found = found @ phi
        found = found / (found.std() + EPS)
    return found
