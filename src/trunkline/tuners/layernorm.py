"""LayerNorm tuning: only the norms' weights and biases are trained (Zhao et al. 2024, "Tuning LayerNorm in Attention",
arXiv 2312.11420; for classification with BERT: ValizadehAslani and Liang 2024, "LayerNorm: a key component in
parameter-efficient fine-tuning", arXiv 2403.20284)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel
from transformers import PreTrainedModel

from trunkline.branches.fold import methods
from trunkline.trunk.architectures import Architecture, Taps
from trunkline.tuners.base import Tuner, TunerConfig


class LayerNormConfig(TunerConfig):
    """`method: {name: layernorm}`."""

    name: Literal["layernorm"] = "layernorm"


@methods.register("layernorm")
class LayerNorm(Tuner):
    """See the module's docstring. A norm is a module whose class says so: LayerNorm, LlamaRMSNorm, T5LayerNorm."""

    Config: ClassVar[type[BaseModel]] = LayerNormConfig

    def apply(self, model: PreTrainedModel, architecture: Architecture, taps: Taps) -> Any:
        for module in model.modules():
            if type(module).__name__.endswith("Norm"):
                module.requires_grad_(True)
        return model
