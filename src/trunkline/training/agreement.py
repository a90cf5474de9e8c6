"""All that the processes of one launch tell each other: what the main one decides, sums, and that one has come so far.

A process that has ended cannot be waited for: each function here then raises `LostProcess` in the others, as soon as
the backend of torch.distributed notices: gloo at once where the machine still runs, otherwise after its timeout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, broadcast_object_list
from torch import Tensor, nn

from trunkline.errors import TrunklineError

T = TypeVar("T")


class LostProcess(TrunklineError):
    """Another process of the launch has ended, or cannot be reached any more. What was saved until then is kept."""


def agreed(accelerator: Accelerator, decide: Callable[[], T]) -> T:
    """What `decide` returns in the main process, in every process. It has to be quick: the others wait, and not for ever."""
    values: list[Any] = [decide() if accelerator.is_main_process else None]
    with _together(accelerator):
        broadcast_object_list(values)
    return values[0]


def anywhere(accelerator: Accelerator, *wishes: bool) -> list[bool]:
    """For each wish, whether some process has it: signals and clocks are a process's own, and all must do the same."""
    if accelerator.num_processes == 1:
        return list(wishes)
    flags = torch.tensor(wishes, dtype=torch.float32, device=accelerator.device)
    return [count > 0 for count in summed(accelerator, flags).tolist()]


def summed(accelerator: Accelerator, value: Tensor) -> Tensor:
    """The sum of a tensor over all processes, in each of them; its shape is the same in all."""
    with _together(accelerator):
        return accelerator.reduce(value, "sum")


def as_in_main(accelerator: Accelerator, value: Tensor) -> None:
    """Make a tensor what it is in the main process, in place."""
    with _together(accelerator):
        broadcast(value)


def wait_for_all(accelerator: Accelerator) -> None:
    """Wait until every process is here."""
    with _together(accelerator):
        accelerator.wait_for_everyone()


def sum_gradients(accelerator: Accelerator, parameters: Sequence[nn.Parameter], count: float) -> float:
    """Make each gradient its sum over all processes; return the sum of `count`.

    What has no gradient in any process has none afterwards: a layer that is cut off must not be moved by momentum or decay. A
    gradient of zeros is one, as in a single process: the optimiser counts its steps.
    """
    flat = torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in parameters])
    more = flat.new_tensor([*(float(p.grad is not None) for p in parameters), count])
    flat = summed(accelerator, torch.cat([flat, more]))
    *gradients, more = flat.split([*(p.numel() for p in parameters), len(more)])
    for p, gradient, given in zip(parameters, gradients, more[:-1].tolist(), strict=True):
        p.grad = gradient.view_as(p).clone() if given else None
    return more[-1].item()


@contextmanager
def _together(accelerator: Accelerator) -> Iterator[None]:
    """Around what all processes do at once."""
    try:
        yield
    except RuntimeError as error:  # torch.distributed has no type of its own for a connection that is closed
        if accelerator.num_processes == 1:
            raise
        raise LostProcess(
            "another process of this launch has ended or cannot be reached, so this one ends too; "
            "rerun the same command, which resumes from the last checkpoint"
        ) from error
