"""Hidden-state variability (Xie et al. 2022, arXiv 2210.10041): the one layer with the lowest nu, chosen without training.

nu (nu.py) of every layer is measured on the states of training examples, pooled over the tokens of a text that are no special
ones. The branch reads the layer with the lowest, of equal ones the lower, with a head as `single_layer` has it. The paper is
about classes of texts; here words are examples too, their tags the classes, and of several labels a text nu is the mean over
labels of the nu of the texts with and without it.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from trunkline.branches.adalayers import AdaLayers, FeatureConfig
from trunkline.branches.examples import Examples
from trunkline.branches.fold import Output, TrunkShape, methods
from trunkline.branches.nu import nu_by_layer
from trunkline.branches.stack import LayerSum


class VariabilityConfig(FeatureConfig):
    """`method: {name: variability}`."""

    name: Literal["variability"] = "variability"
    layers: list[int] | str | None = Field(None, description='layers to choose from: [1, 3], "1-"; all states by default')


@methods.register("variability")
class Variability(AdaLayers):
    """See the module's docstring. Before nu is measured, it reads the lowest layer."""

    Config: ClassVar[type[FeatureConfig]] = VariabilityConfig
    COMPARES: ClassVar[str] = "method.name"

    def __init__(self, config: Any, trunk: TrunkShape, output: Output) -> None:
        super().__init__(config, trunk, output)
        del self.p
        self.one: Tensor
        self.register_buffer("one", torch.ones(1), persistent=False)

    def _compares(self) -> bool:
        return True

    def _projected(self) -> list[str]:
        return ["chosen"]

    @torch.no_grad()
    def examine(self, examples: Examples) -> None:
        self.nu.copy_(nu_by_layer(examples, self.layers))

    def distribution(self) -> tuple[tuple[int, ...], Tensor]:
        return (self.layers[int(torch.argsort(self.nu, stable=True)[0])],), self.one

    def layer_sum(self) -> LayerSum:
        kept, weights = self.distribution()
        dropout = self.config.feature_dropout if self.training else 0.0
        shares, projections = {kept[0]: weights[0]}, {kept[0]: self.projections["chosen"]}
        return LayerSum(self.config.activation, shares, projections, dropout, self.head, self.path)

    def penalty(self) -> float:
        return 0.0
