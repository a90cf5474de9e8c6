"""Full fine-tuning: every weight of the trunk is trained (Devlin et al. 2019, BERT, 3.5), or those of its top blocks only."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, Field
from transformers import PreTrainedModel

from trunkline.branches.fold import methods
from trunkline.errors import BadInput
from trunkline.trunk.architectures import Architecture, Taps
from trunkline.tuners.base import Tuner, TunerConfig


class FullConfig(TunerConfig):
    """`method: {name: full}`."""

    LEARNING_RATE: ClassVar[float] = 5e-5

    name: Literal["full"] = "full"
    top: int | None = Field(None, ge=1, description="number of top blocks to train; all weights by default")


@methods.register("full")
class Full(Tuner):
    """See the module's docstring. What comes after the blocks (final norm, pooler) is trained with them."""

    Config: ClassVar[type[BaseModel]] = FullConfig
    shards = True

    def apply(self, model: PreTrainedModel, architecture: Architecture, taps: Taps) -> Any:
        top, count = self.config.top, len(taps.blocks)
        if top is None:
            return model.requires_grad_(True)
        if top > count:
            raise BadInput(f"found {top} blocks, expected 1 to {count} for this trunk", key="method.top")
        after = [taps.states[-1], getattr(model, "pooler", None)]
        for module in (*taps.blocks[count - top :], *after):
            if module is not None:
                module.requires_grad_(True)
        return model
