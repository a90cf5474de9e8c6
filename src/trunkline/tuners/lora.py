"""LoRA: beside each chosen linear map, a trained product of two small matrices; W x + (alpha / r) B A x (Hu et al. 2022,
"LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685), by the peft library.

Also rank-stabilised (alpha / sqrt(r); Kalajdzievski 2023, arXiv 2312.03732) and weight-decomposed (DoRA; Liu et al. 2024,
arXiv 2402.09353).
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from peft import LoraConfig as PeftLoraConfig
from pydantic import BaseModel, Field
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from trunkline.branches.fold import methods
from trunkline.trunk.architectures import Architecture, Taps
from trunkline.tuners.base import Tuner, TunerConfig
from trunkline.tuners.peft import inject, merge_layers
from trunkline.tuners.targets import find_targets


class LoraConfig(TunerConfig):
    """`method: {name: lora}`."""

    LEARNING_RATE: ClassVar[float] = 5e-4

    name: Literal["lora"] = "lora"
    targets: str | list[str] = Field(
        "linear", description="attention | qv | qkv | linear (all of the blocks, and the pooler's), or names of modules"
    )
    r: int = Field(8, ge=1, description="rank of the product")
    alpha: float = Field(16, gt=0, description="scales the product: alpha / r")
    dropout: float = Field(0.1, ge=0, lt=1, description="before the product")
    bias: Literal["none", "all", "lora_only"] = Field("none", description="biases to train: lora_only are those of the targets")
    rslora: bool = Field(False, description="scale by alpha / sqrt(r)")
    dora: bool = Field(False, description="learn magnitude and direction of each weight vector separately (DoRA)")


@methods.register("lora")
class Lora(Tuner):
    """See the module's docstring."""

    Config: ClassVar[type[BaseModel]] = LoraConfig
    target = "peft"
    shards = True

    def apply(self, model: PreTrainedModel, architecture: Architecture, taps: Taps) -> Any:
        config = self.config
        targets = find_targets(config.targets, model, architecture, taps)
        self.peft_config = PeftLoraConfig(
            r=config.r,
            lora_alpha=config.alpha,
            lora_dropout=config.dropout,
            target_modules=targets,
            bias=config.bias,
            use_rslora=config.rslora,
            use_dora=config.dora,
            fan_in_fan_out=any(isinstance(model.get_submodule(name), Conv1D) for name in targets),
        )
        return inject(model, self.peft_config, "method lora")

    def merge(self, model: Any) -> PreTrainedModel:
        return merge_layers(model)
