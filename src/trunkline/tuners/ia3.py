"""IA3: keys, values and the units between the feed-forward maps are multiplied by learned vectors that start at 1 (Liu et
al. 2022, "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning", arXiv 2205.05638), by
the peft library.

Where one matrix makes query, key and value, the query is multiplied too: it enters in a product with the key only.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from peft import IA3Config as PeftIA3Config
from pydantic import BaseModel
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from trunkline.branches.fold import methods
from trunkline.trunk.architectures import Architecture, Taps
from trunkline.tuners.base import Tuner, TunerConfig
from trunkline.tuners.peft import inject, merge_layers
from trunkline.tuners.targets import part_names


class IA3Config(TunerConfig):
    """`method: {name: ia3}`."""

    name: Literal["ia3"] = "ia3"


@methods.register("ia3")
class IA3(Tuner):
    """See the module's docstring."""

    Config: ClassVar[type[BaseModel]] = IA3Config
    target = "peft"

    def apply(self, model: PreTrainedModel, architecture: Architecture, taps: Taps) -> Any:
        attention, down = (part_names(model, architecture, taps, *parts) for parts in (("key", "value"), ("down",)))
        self.peft_config = PeftIA3Config(
            target_modules=attention + down,
            feedforward_modules=down,
            fan_in_fan_out=any(isinstance(model.get_submodule(name), Conv1D) for name in down),
        )
        return inject(model, self.peft_config, "method ia3")

    def merge(self, model: Any) -> PreTrainedModel:
        return merge_layers(model)
