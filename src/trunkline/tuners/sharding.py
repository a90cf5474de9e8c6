"""A changed trunk divided among the processes of a launch: fully sharded data parallelism (Zhao et al. 2023, "PyTorch FSDP",
arXiv 2304.11277; Rajbhandari et al. 2020, ZeRO, arXiv 1910.02054), by torch's `fully_shard`.

It is the FSDP2 that accelerate prepares models with. It is called here, as accelerate leaves it out on a CPU, and its `prepare`
takes no optimiser that trains heads beside the model. Each process holds a share of the weights of every block and of the token
embeddings, of their gradients and of the optimiser's moments; what is small and lies outside of those is whole in each.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel

from trunkline.trunk.architectures import StackName, find_taps
from trunkline.trunk.hooks import put_last
from trunkline.trunk.stream import HOOKS


class Sharded:
    """A model whose weights are divided, in the place of another one that keeps none of these meanwhile.

    All processes have to make as many passes, and ways back, as each other, but for those within `whole`.

    Args:
        model: as a tuner has changed it; equal in all processes.
        stack: which of its stacks is read.
        device: of this process.

    Attributes:
        model: to be called in its place.
        taps: of that.
    """

    def __init__(self, model: Any, stack: StackName, device: torch.device) -> None:
        self._undivided = model
        memo: dict[int, Any] = {id(p): nn.Parameter(p.data, requires_grad=p.requires_grad) for p in model.parameters()}
        memo |= {id(buffer): buffer for buffer in model.buffers()}
        self.model = copy.deepcopy(model, memo)
        self.taps = find_taps(self.model, stack)
        mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
        self._units: list[FSDPModule] = []
        for module in (*dict.fromkeys(self.taps.blocks), *_embeddings(self.model)):
            unit = fully_shard(module, mesh=mesh, reshard_after_forward=True)
            unit.set_gradient_divide_factor(1.0)  # gradients are sums over batches everywhere else, too
            unit.set_force_sum_reduction_for_comms(True)  # gloo has no other
            self._units.append(unit)
        # `run_layers` ends a pass in the hook of a block: those of `fully_shard`, which come after ours, have to run before it.
        put_last(self.taps, HOOKS)
        there = dict(self.model.named_parameters())
        for name, parameter in model.named_parameters():
            if isinstance(there[name], DTensor):
                parameter.data = parameter.data.new_empty(0)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Within the block each process holds all weights, so that it may make passes without the others, and none back."""
        for unit in self._units:
            unit.set_reshard_after_forward(False, recurse=False)
            unit.unshard()
        try:
            yield
        finally:
            for unit in self._units:
                unit.set_reshard_after_forward(True, recurse=False)
                unit.reshard()

    def undivided(self) -> Any:
        """The model that was divided, with all weights as they are now."""
        found = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, parameter in self._undivided.named_parameters():
                parameter.data = whole(found[name].detach())
        return self._undivided


def whole(value: Tensor) -> Tensor:
    """A tensor that is divided, put together in every process, which all have to ask for it; any other as it is."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def divided(value: Tensor, like: Tensor) -> Tensor:
    """A tensor that every process has, divided as `like` is; as it is where that is not, or where it has another shape."""
    if not isinstance(like, DTensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def apart(parameters: Sequence[nn.Parameter]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Those that are whole in each process, and those that are divided: torch takes no mixture in one operation."""
    return [p for p in parameters if not isinstance(p, DTensor)], [p for p in parameters if isinstance(p, DTensor)]


def gradients_of(parameters: Sequence[nn.Parameter]) -> list[list[Tensor]]:
    """The gradients of each kind of parameters, as `apart` has them, of which there are some."""
    return [grads for kind in apart(parameters) if (grads := [p.grad for p in kind if p.grad is not None])]


def clip_gradients(parameters: Sequence[nn.Parameter], most: float) -> None:
    """As `torch.nn.utils.clip_grad_norm_`, for parameters of which some are divided."""
    kinds = gradients_of(parameters)
    norms = [whole(nn.utils.get_total_norm(grads)) for grads in kinds]
    share = torch.clamp(most / (torch.linalg.vector_norm(torch.stack(norms)) + 1e-6), max=1.0).item()
    for grads in kinds:
        torch._foreach_mul_(grads, share)


def _embeddings(model: Any) -> list[nn.Module]:
    """The module of the token embeddings, unless others share its weights."""
    module = next(one for one in model.modules() if isinstance(one, PreTrainedModel)).get_input_embeddings()
    holders = sum(getattr(module, "weight", None) is p for one in model.modules() for p in one._parameters.values())
    return [module] if holders == 1 else []
