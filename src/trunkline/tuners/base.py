"""What a tuner is: a way to change a transformer in place, so that its task is learned by few or all of its weights."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

from pydantic import BaseModel, Field
from torch import Tensor
from transformers import PreTrainedModel

from trunkline.branches.fold import BranchConfig, methods
from trunkline.errors import BadInput
from trunkline.trunk.architectures import Architecture, Taps
from trunkline.trunk.load import Trunk


class TunerConfig(BranchConfig):
    """Keys that every tuner has."""

    PATHS: ClassVar[tuple[str, ...]] = ()  # keys that hold paths, alone or several

    head: Any = Field("plain", description="plain (the published recipes' own) or a side branch: {name: adalayers, dim: 64}")

    @classmethod
    def upgrade(cls, section: dict[str, Any], schema: int) -> dict[str, Any]:
        head = section.get("head", "plain")
        head = {"name": head} if isinstance(head, str) and head != "plain" else head
        if not isinstance(head, dict) or (upgraded := methods.get(head["name"]).Config.upgrade(head, schema)) == head:
            return section
        return {**section, "head": upgraded}


class Tuner:
    """A method that changes the trunk's computation.

    Registered among the methods (`branches.methods`), so that `method:` names it like any other.

    Args:
        config: an instance of the class's `Config`.
    """

    Config: ClassVar[type[BaseModel]]
    target: ClassVar[str] = "transformers"  # the library that loads what the method has learned
    merges: ClassVar[bool] = True  # whether that can be folded into plain weights
    recomputes: bool = True  # whether blocks can be computed again on the way back
    shards: ClassVar[bool] = False  # whether what is trained can be divided among processes, as it holds no module itself
    virtual_tokens: int = 0  # rows that the method puts before each sequence; they are no layer states of the text
    positions: int = 0  # how many of the model's positions the method takes from each text

    def __init__(self, config: Any) -> None:
        self.config = config

    def check(self, trunk: Trunk) -> None:
        """Raise BadInput if what the config names (adapters trained before, say) belongs to another trunk."""

    def apply(self, model: PreTrainedModel, architecture: Architecture, taps: Taps) -> Any:
        """Change `model` in place, and return the module to call: the model itself or a wrapper around it.

        Afterwards exactly the parameters that the method trains have `requires_grad`; none has it before. The model's tensors
        are shared with the trunk: replace or add modules and parameters, and never write into a tensor that was there.
        New parameters are float32, drawn from torch's global generator.

        Args:
            model: a private copy of the bare model, in eval mode, with its `pooler` if the task's head uses one.
            architecture: its row of the table.
            taps: its modules whose outputs are the layer states.

        Raises:
            BadInput: the config does not fit this model, e.g. names modules that it does not have.
        """
        raise NotImplementedError

    def described(self) -> dict[str, Any]:
        """The config as `branch.json` keeps it: a branch must reload without files that the config named."""
        return self.config.model_dump(mode="json")

    def penalty(self) -> Tensor | float:
        """What the method adds to the loss of every batch."""
        return 0.0

    def watch(self) -> AbstractContextManager[None]:
        """Within this context, passes in eval mode are counted for `attention`, where the method has such a thing."""
        return nullcontext()

    def attention(self) -> dict[int, dict[str, float]]:
        """By block 1..l, the share of attention that each fused adapter got in the passes of the last `watch`."""
        return {}

    def merge(self, model: Any) -> PreTrainedModel:
        """Fold what was learned into plain weights, in place, where that is exact; BadInput where the method cannot."""
        raise BadInput(f"method {self.config.name}: cannot be merged into the trunk's weights")
