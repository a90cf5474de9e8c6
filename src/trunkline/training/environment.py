"""What the last bits of a training depend on besides its config, data and trunk. A checkpoint holds it, and resuming compares.

Sums are made in another order by another number of threads, another kind of device or processor and another version of
torch: the result is then the same to rounding only, which is said. The number of processes decides which batches make a
step, so a training is resumed with as many as it began with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator

from trunkline.trunk.machine import described

_SHOWN = {"threads": "threads", "device": "device", "instructions": "instruction set", "torch": "version of torch"}


def environment(accelerator: Accelerator) -> dict[str, Any]:
    """That of this process, with the hardware that its times hold for; plain JSON."""
    return {
        "processes": accelerator.num_processes,
        "threads": torch.get_num_threads(),
        "device": accelerator.device.type,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "machine": described(accelerator.device),
    }


def changes(before: Mapping[str, Any], now: Mapping[str, Any], *, processes: bool = False) -> str | None:
    """What has changed, as one sentence; None if nothing has. What is not known of `before` is not compared."""
    shown = {"processes": "processes", **_SHOWN} if processes else _SHOWN
    told = [f"{name} {before[key]}, now {now[key]}" for key, name in shown.items() if before.get(key, now[key]) != now[key]]
    if not told:
        return None
    return (
        f"started with other settings ({'; '.join(told)}): the result equals that of an uninterrupted run up to rounding only"
    )
