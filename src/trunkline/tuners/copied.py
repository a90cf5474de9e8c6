"""The copy of a trunk's modules that a tuner changes: it shares tensors with the trunk, and is made cheaper to train."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from trunkline.branches.dropout import Dropout


def private_copy(model: Any) -> Any:
    """A copy of a model's modules whose parameters are new objects over the same tensors; none requires gradients."""
    memo: dict[int, Any] = {id(p): nn.Parameter(p.data, requires_grad=False) for p in model.parameters()}
    memo |= {id(buffer): buffer for buffer in model.buffers()}
    return copy.deepcopy(model, memo)


def narrow(model: nn.Module, exempt: list[nn.Module]) -> None:
    """Hold what is not trained in bf16, as a trunk in bf16 does; tables that a model computes for itself stay float32.

    So does the pooler (in `exempt`), which is small and is stored with the branch, and a norm of which a part is trained: its
    kernels want both parts alike.
    """
    wide = {id(p) for module in exempt for p in module.parameters()}
    module: Any
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if any(p.requires_grad for p in own) and all(p.ndim < 2 for p in own):
            wide |= {id(p) for p in own}
        if hasattr(module, "cast_input_dtype_enabled"):  # peft's layers would widen what autocast then narrows again
            module.cast_input_dtype_enabled = False
    for parameter in model.parameters():
        if not parameter.requires_grad and parameter.is_floating_point() and id(parameter) not in wide:
            parameter.data = parameter.data.bfloat16()


def quicken(model: nn.Module) -> None:
    """Draw dropout masks in the cheaper way that the heads do: on a CPU they cost more than the norms otherwise."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, Dropout(child.p).train(child.training))
