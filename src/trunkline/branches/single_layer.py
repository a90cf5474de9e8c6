"""One layer only: AdaLayers with p fixed on one layer, the comparison that its document draws beside it.

Sweeping `layer` over 0..l shows where in the trunk a task is solved.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from trunkline.branches.adalayers import AdaLayers, FeatureConfig
from trunkline.branches.fold import Output, TrunkShape, methods
from trunkline.branches.layer_choice import choose_layer


class SingleLayerConfig(FeatureConfig):
    """`method: {name: single_layer}`."""

    name: Literal["single_layer"] = "single_layer"
    layer: int = Field(-1, description="the layer to read; negative numbers count from the top, -1 is the last")


@methods.register("single_layer")
class SingleLayer(AdaLayers):
    """See the module's docstring. It has no p: its layer weighs 1."""

    Config: ClassVar[type[FeatureConfig]] = SingleLayerConfig

    def __init__(self, config: Any, trunk: TrunkShape, output: Output) -> None:
        super().__init__(config, trunk, output)
        del self.p
        self.one: Tensor
        self.register_buffer("one", torch.ones(1), persistent=False)

    def _choose(self) -> tuple[int, ...]:
        return (choose_layer(self.config.layer, self.trunk),)

    def _compares(self) -> bool:
        return False

    def distribution(self) -> tuple[tuple[int, ...], Tensor]:
        return self.layers, self.one

    def penalty(self) -> float:
        return 0.0
