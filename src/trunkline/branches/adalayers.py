"""AdaLayers: a learned distribution over the layers of a frozen transformer.

    f_i = N(a(Z_i) W_i^T)         W_i: K -> k, no bias; a an activation; N layer norm over k without learned affine
    p~  = softmax(alpha * p)      p: one learned number per layer, starting equal
    F   = sum_i p~_i f_i          (N, k), packed

Then a head (heads.py), and for texts beside it a linear map of the pooled states (linear_path.py). Only the `top_layers`
largest p may be kept. Components of p~ at or below `cutoff` become 0 and the rest is renormalised, and those layers are not
read. `entropy` times H(p~) / l, for l layers, may be added to the loss, and so may a price of depth (depth.py). F is summed
layer by layer, so a branch costs one (N, k) tensor. p may also start such that p~ is in proportion to 1 / nu of each layer
(nu.py).

The published code (github.com/alexdremov/adalayers) is followed where the text says otherwise or nothing; docs/methods.md
has the differences.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from trunkline.branches.depth import expected_depth, silence
from trunkline.branches.examples import Asked, Examples
from trunkline.branches.fold import (
    ActivationName,
    BranchConfig,
    LayerState,
    Output,
    SideBranch,
    TrunkShape,
    methods,
)
from trunkline.branches.heads import FeatureHead, FeedForwardActivation, HeadKind
from trunkline.branches.layer_choice import choose_layers
from trunkline.branches.linear_path import LinearPath
from trunkline.branches.nu import nu_by_layer, refuse_numbers
from trunkline.branches.products import linear
from trunkline.branches.stack import LayerSum, Stack, Sums
from trunkline.errors import BadInput
from trunkline.inputs.batching import Layout

Carry = tuple[LayerSum, Stack, Sums]
SMALLEST_NU = 1e-6  # of classes without any variability within


class FeatureConfig(BranchConfig):
    """Keys of the methods that project layers to k features and put a head of tokens on them."""

    dim: int = Field(128, ge=1, description="k, the width that each layer is projected to")
    activation: ActivationName = Field("gelu", description="a(), applied to the layer states before the projection")
    head: HeadKind | None = Field(None, description="attention | encoder | linear; attention for texts, encoder for words")
    heads: int = Field(8, ge=1, description="attention heads of the head; a divisor of dim")
    encoder_layers: int = Field(1, ge=1, le=100, description="layers of the encoder head")
    feed_forward: int = Field(512, ge=1, description="width of the encoder head's feed-forward maps")
    positions: bool | None = Field(None, description="add sinusoidal positions to the features; by default for words only")
    dropout: float = Field(0.1, ge=0, lt=1, description="in the head")
    feature_dropout: float = Field(0.0, ge=0, lt=1, description="on the features of each layer, before they are added up")
    position_dropout: float = Field(0.0, ge=0, lt=1, description="after positions are added")
    positions_first: bool = Field(False, description="add positions before the GELU on the features, not after it")
    feed_forward_activation: FeedForwardActivation = Field("gelu", description="gelu | relu, in the encoder head")

    linear: bool = Field(True, description="for texts: add a linear map of the pooled states to the logits of the head")

    @classmethod
    def upgrade(cls, section: dict[str, Any], schema: int) -> dict[str, Any]:
        # Every key is written, so one that is not there was not known.
        earlier = {"positions_first": True, "feed_forward_activation": "relu"} if schema < 2 else {}
        return {"linear": False, **earlier, **section}


class AdaLayersConfig(FeatureConfig):
    """`method: {name: adalayers}`."""

    LATER: ClassVar[tuple[str, ...]] = ("initial", "depth_penalty", "freeze_distribution")

    name: Literal["adalayers"] = "adalayers"
    layers: list[int] | str | None = Field(None, description='layers to learn over: [1, 3], "0-6"; all states by default')
    alpha: float = Field(16.0, gt=0, description="sharpness of softmax(alpha * p)")
    top_layers: int | None = Field(None, ge=1, description="read only so many layers, those with the largest weights")
    cutoff: float = Field(0.01, ge=0, lt=1, description="layers whose weight is at or below are dropped")
    initial: Literal["equal", "variability"] = Field(
        "equal", description="initial weights of the layers: equal, or in proportion to 1 / nu of each (method variability)"
    )
    freeze_distribution: bool = Field(False, description="keep the initial weights of the layers, and learn all else")
    entropy: float = Field(
        0.0, description="lambda: this times the entropy of the weights, divided by the number of layers, is added to the loss"
    )
    depth_penalty: float = Field(
        0.0,
        ge=0,
        description="price of depth: this times the expected depth, a share of all blocks, is added to the loss",
    )


@methods.register("adalayers")
class AdaLayers(SideBranch):
    """See the module's docstring."""

    Config: ClassVar[type[FeatureConfig]] = AdaLayersConfig
    COMPARES: ClassVar[str] = "method.initial"  # the key that asks for nu

    def __init__(self, config: Any, trunk: TrunkShape, output: Output) -> None:
        super().__init__(config, trunk, output)
        self.layers = self._choose()
        self.p = nn.Parameter(torch.zeros(len(self.layers)), requires_grad=not self._frozen())
        if self._compares():
            self.nu: Tensor
            refuse_numbers(output.numbers, self.COMPARES)
            self.register_buffer("nu", torch.zeros(len(self.layers)))
        # A parameter per layer: a layer that is not read gets no gradient, and so costs and changes nothing.
        self.projections = nn.ParameterDict({key: torch.empty(config.dim, trunk.hidden_size) for key in self._projected()})
        for weight in self.projections.values():
            nn.init.kaiming_uniform_(weight, a=5**0.5)  # as nn.Linear
        unit = output.level == "unit"
        self.head = FeatureHead(
            config.dim,
            output,
            kind=config.head or ("encoder" if unit else "attention"),
            heads=config.heads,
            layers=config.encoder_layers,
            feed_forward=config.feed_forward,
            dropout=config.dropout,
            positions=unit if config.positions is None else config.positions,
            position_dropout=config.position_dropout,
            positions_first=config.positions_first,
            feed_forward_activation=config.feed_forward_activation,
        )
        self.path = LinearPath(self.layers, trunk.hidden_size, output.size) if config.linear and not unit else None

    def _choose(self) -> tuple[int, ...]:
        return choose_layers(self.config.layers, self.trunk)

    def _compares(self) -> bool:
        """Whether nu of every layer is measured before training."""
        return bool(self.config.initial == "variability")

    def _frozen(self) -> bool:
        """Whether the initial p stays.

        Raises:
            BadInput: it has a price, too, that could only change what is learned.
        """
        if not getattr(self.config, "freeze_distribution", False):
            return False
        for key, asked in (("entropy", self.config.entropy), ("depth_penalty", self.config.depth_penalty)):
            if asked:
                raise BadInput(found=asked, expected="0 with freeze_distribution", key=f"method.{key}")
        return True

    def _projected(self) -> list[str]:
        """The names of the projections."""
        return [str(layer) for layer in self.layers]

    def distribution(self) -> tuple[tuple[int, ...], Tensor]:
        """The layers that are read, and their renormalised weights, differentiable in p.

        Renormalising what is left of a softmax is the softmax over what is left. The largest component always stays, and
        of equal ones the lower layer. A p that is not kept has no gradient.
        """
        logits = self.config.alpha * self.p
        with torch.no_grad():
            order = torch.argsort(logits, descending=True, stable=True)  # what is not a number counts as largest
            shares = torch.zeros_like(logits).float()
            shares[order[: self.config.top_layers]] = torch.softmax(logits[order[: self.config.top_layers]].float(), 0)
            # "Not at or below" keeps what is not a number too: a training that went wrong must show it, not drop all layers.
            kept = (~(shares <= self.config.cutoff) | (shares == shares.max())).nonzero().flatten()
        return tuple(self.layers[i] for i in kept.tolist()), torch.softmax(logits[kept], 0)

    def wanted(self) -> tuple[int, ...]:
        with torch.no_grad():
            return self.distribution()[0]

    def layer_sum(self) -> LayerSum:
        kept, weights = self.distribution()
        projections = {layer: self.projections[str(layer)] for layer in kept}
        dropout = self.config.feature_dropout if self.training else 0.0
        shares = dict(zip(kept, weights.unbind(), strict=True))
        return LayerSum(self.config.activation, shares, projections, dropout, self.head, self.path)

    def read(self, carry: Carry | None, layer: int, state: LayerState) -> Carry:
        own, stack, sums = carry or self._open()
        if layer in own.shares:
            sums = sums.copy()  # a carry is a value
            stack.add(sums, layer, linear(state.activated(own.activation), own.weight(layer)), state)
        return own, stack, sums

    def _open(self) -> Carry:
        own = self.layer_sum()
        return own, Stack([own], None), Sums()

    def finish(self, carry: Carry | None, layout: Layout, rows: Tensor | None = None) -> Tensor:
        _, stack, sums = carry or self._open()
        logits = self.head(stack.features(sums)[:, 0], layout, rows)
        return logits if stack.paths is None or sums.pooled is None else logits + stack.paths.logits(sums.pooled)[0]

    def measures(self) -> tuple[int, ...]:
        return () if self.path is None else self.layers

    def standardise(self, moments: Mapping[int, tuple[Tensor, Tensor]]) -> None:
        if self.path is not None:
            self.path.standardise(moments)

    def examines(self) -> Asked | None:
        return Asked(self.layers, "content") if self._compares() else None

    @torch.no_grad()
    def examine(self, examples: Examples) -> None:
        """Measure nu, and let the distribution begin in proportion to 1 / nu."""
        self.nu.copy_(nu_by_layer(examples, self.layers))
        logits = -self.nu.clamp(min=SMALLEST_NU).log()
        self.p.copy_((logits - logits.mean()) / self.config.alpha)

    @torch.no_grad()
    def by_layer(self) -> dict[str, dict[int, float]]:
        measured = self._compares() and bool(self.nu.any())
        return {"nu": dict(zip(self.layers, self.nu.tolist(), strict=True))} if measured else {}

    def keep(self, layers: Collection[int]) -> None:
        kept = set(self.wanted()) & set(layers)
        if not kept:
            raise ValueError(f"none of the layers {sorted(layers)} is read; expected some of {self.wanted()}")
        silence(self.p, [place for place, layer in enumerate(self.layers) if layer not in kept], self.config.alpha)

    def penalty(self) -> Tensor | float:
        """lambda * H(p~) / l: the entropy, in nats, of the weights that are left, by the number of layers to learn over; and
        the price of their depth."""
        entropy, price = self.config.entropy, self.depth_penalty
        if not entropy and not price:
            return 0.0
        kept, weights = self.distribution()
        terms = []
        if entropy:
            terms.append(entropy * torch.special.entr(weights).sum() / len(self.layers))
        if price:
            terms.append(price * expected_depth(kept, weights, self.trunk))
        return terms[0] if len(terms) == 1 else terms[0] + terms[1]

    @torch.no_grad()
    def layer_weights(self) -> dict[int, float]:
        kept, weights = self.distribution()
        return {**dict.fromkeys(self.layers, 0.0), **dict(zip(kept, weights.tolist(), strict=True))}
