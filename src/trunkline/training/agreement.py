"""What the processes of one launch decide together: the main one decides, and the others do the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

T = TypeVar("T")


def agreed(accelerator: Accelerator, decide: Callable[[], T]) -> T:
    """What `decide` returns in the main process, in every process. It has to be quick: the others wait, and not for ever."""
    values: list[Any] = [decide() if accelerator.is_main_process else None]
    broadcast_object_list(values)
    return values[0]
