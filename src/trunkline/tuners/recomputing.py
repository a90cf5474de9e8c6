"""Gradient checkpointing: the way back computes what is inside of a block again, so that only each block's input is kept until
then (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", arXiv 1604.06174), as transformers does it.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from trunkline.errors import BadInput
from trunkline.trunk.architectures import Taps

KEY = "training.gradient_checkpointing"


def recompute_blocks(model: nn.Module, taps: Taps, architecture: str) -> None:
    """Keep nothing of what the blocks of a model compute in training but their inputs; in eval mode nothing changes.

    Hooks on blocks, which read layer states, run once: what is computed again is `forward` and not `__call__`.

    Args:
        model: changed by a tuner or not, bare or within a wrapper.
        taps: its blocks.
        architecture: what messages call the model.

    Raises:
        BadInput: transformers cannot do that for this model.
    """
    holder: Any = next(module for module in model.modules() if isinstance(module, PreTrainedModel))
    if not holder.supports_gradient_checkpointing or not all(
        isinstance(block, GradientCheckpointingLayer) for block in taps.blocks
    ):
        raise BadInput(found="true", expected=f"false: transformers cannot recompute the blocks of {architecture}", key=KEY)
    if GradientCheckpointingLayer.__call__ is not nn.Module.__call__:
        raise BadInput(
            found="true", expected="false, or a newer transformers: this one calls hooks again where it recomputes", key=KEY
        )
    holder.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    # Only reentrant checkpoints need gradients of the embeddings; here they would lead the way back through frozen blocks.
    holder.disable_input_require_grads()
