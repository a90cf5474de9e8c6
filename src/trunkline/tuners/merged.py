"""A tuned trunk as a plain model: what was learned is folded into the weights, where that is exact."""

from __future__ import annotations

from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import PreTrainedModel

from trunkline.errors import BadInput
from trunkline.tuners.peft import Shared
from trunkline.tuners.prompt import Before
from trunkline.tuners.tuned import TunedTrunk


def merged_model(tuned: TunedTrunk) -> PreTrainedModel:
    """Return a copy of a tuned trunk's model in float32 on the CPU, with nothing of the tuner left in it but its numbers.

    Raises:
        BadInput: the method cannot be merged.
    """
    if not tuned.tuner.merges:
        raise BadInput(f"method {tuned.tuner.config.name}: cannot be merged into the trunk's weights")
    model = tuned.in_float32()
    if any(isinstance(module, (BaseTunerLayer, Before, Shared)) for module in model.modules()):
        model = tuned.tuner.merge(model)
    return model
