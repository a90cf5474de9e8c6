"""BitFit: only the biases are trained (Ben Zaken, Ravfogel and Goldberg 2022, "BitFit", arXiv 2106.10199)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel
from transformers import PreTrainedModel

from trunkline.branches.fold import methods
from trunkline.errors import BadInput
from trunkline.trunk.architectures import Architecture, Taps
from trunkline.tuners.base import Tuner, TunerConfig


class BitFitConfig(TunerConfig):
    """`method: {name: bitfit}`."""

    name: Literal["bitfit"] = "bitfit"


@methods.register("bitfit")
class BitFit(Tuner):
    """See the module's docstring."""

    Config: ClassVar[type[BaseModel]] = BitFitConfig

    def apply(self, model: PreTrainedModel, architecture: Architecture, taps: Taps) -> Any:
        biases = [p for name, p in model.named_parameters() if name.rpartition(".")[2] == "bias"]
        if not biases:
            raise BadInput(f"method bitfit: {architecture.model_type} has no biases to train; expected a trunk with biases")
        for bias in biases:
            bias.requires_grad_(True)
        return model
