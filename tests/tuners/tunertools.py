"""What the tests of tuners share: a tuner put into a private copy of a model, its weights moved, and what it then computes."""

from __future__ import annotations

from typing import Any

import torch
from tiny_zoo import build
from torch import Tensor, nn

from trunkline.branches.fold import methods
from trunkline.trunk.architectures import ARCHITECTURES, find_taps
from trunkline.tuners import Tuner
from trunkline.tuners.copied import private_copy


def frozen(name: str, **config: Any) -> Any:
    """The zoo's `name` as a trunk holds it: without gradients, the encoder alone where there are two stacks."""
    model = build(name, **config).requires_grad_(False)
    return model.get_encoder() if name in ("bart", "mbart") else model


def apply(model: Any, name: str, **config: Any) -> tuple[Tuner, Any]:
    """The tuner called `name`, and a copy of `model` as it changes it, in eval mode."""
    kind = methods.get(name)
    tuner = kind(kind.Config(name=name, **config))
    copied = private_copy(model)
    return tuner, tuner.apply(copied, ARCHITECTURES[model.config.model_type], find_taps(copied)).eval()


def ids() -> Tensor:
    return torch.randint(10, 60, (2, 7), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def states(model: nn.Module, **inputs: Tensor) -> Tensor:
    return model(**(inputs or {"input_ids": ids()})).last_hidden_state


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


@torch.no_grad()
def randomise(model: nn.Module, size: float = 0.1) -> None:
    """Move what is trained away from where it starts, which is often where it does nothing."""
    torch.manual_seed(1)
    for parameter in trained(model).values():
        parameter.add_(torch.randn_like(parameter) * size)
