"""What a run costs: parameters, seconds, tokens per second, memory and bytes on disk."""

from __future__ import annotations

import gc
import resource
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trunkline.allocator import give_back_freed_memory


@dataclass
class EpochCost:
    """One epoch: `seconds` of training (evaluation apart), real tokens read, and tokens per second."""

    seconds: float
    evaluation_seconds: float
    tokens: int

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0


@dataclass
class Cost:
    """The cost of a run; a run that is resumed keeps what was counted before."""

    trunk_parameters: int = 0
    trained_parameters: dict[str, int] = field(default_factory=dict)  # by task; tasks that share weights are one, "a+b"
    added_parameters: dict[str, int] = field(default_factory=dict)  # likewise: weights that the trunk has not
    epochs: list[EpochCost] = field(default_factory=list)
    states_seconds: float = 0.0  # building the states store
    states_bytes: int = 0
    seconds: float = 0.0  # of a run, all the time that passed; of a stage, from its first step on
    parts: dict[str, float] = field(default_factory=dict)  # of a run: what its seconds were spent on (clock.py)
    steps_to_best: dict[str, int] = field(default_factory=dict)
    disk_bytes: dict[str, int] = field(default_factory=dict)  # each branch's directory
    stages_bytes: int = 0  # the branches that stages keep besides
    peak_memory_bytes: int = 0
    stacked: int = 1  # runs that were trained at once (training/stacked.py): times and memory are those of all of them
    share: float = 1.0  # of a run in what the steps of these cost, counted (work.py)

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers: totals first, then by task and by epoch."""
        values = asdict(self)
        trained = sum(self.trained_parameters.values())
        values["trained_parameters_total"] = trained
        values["added_parameters_total"] = sum(self.added_parameters.values())
        values["trained_percent_of_trunk"] = round(100 * trained / self.trunk_parameters, 4) if self.trunk_parameters else None
        for shown, epoch in zip(values["epochs"], self.epochs, strict=True):
            shown["tokens_per_second"] = round(epoch.tokens_per_second, 1)
        return values

    @classmethod
    def total(cls, costs: list[Cost]) -> Cost:
        """The cost of several stages, one after the other."""
        whole = cls(costs[0].trunk_parameters)
        for cost in costs:
            for field_name in ("trained_parameters", "added_parameters", "steps_to_best", "disk_bytes"):
                getattr(whole, field_name).update(getattr(cost, field_name))
            whole.epochs += cost.epochs
            whole.states_seconds += cost.states_seconds
            whole.states_bytes = max(whole.states_bytes, cost.states_bytes)
            whole.seconds += cost.seconds
            whole.stages_bytes += cost.stages_bytes
            whole.stacked, whole.share = max(whole.stacked, cost.stacked), cost.share
            whole.peak_memory_bytes = max(whole.peak_memory_bytes, cost.peak_memory_bytes)
        return whole

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Cost:
        known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        known["epochs"] = [EpochCost(e["seconds"], e["evaluation_seconds"], e["tokens"]) for e in known.get("epochs", [])]
        return cls(**known)


def count_parameters(module: nn.Module) -> int:
    """Number of weights of `module`, shared ones once."""
    return sum(p.numel() for p in module.parameters())


def forget_peak() -> None:
    """Let `peak_memory` count from here on, so that a run does not show what an earlier one in the process needed.

    What is no longer used is given back first, by the C library too; what still is counts. Only Linux can do it for resident
    memory.
    """
    gc.collect()  # a run holds itself by cycles
    give_back_freed_memory()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):  # also on systems that have no such file
        Path("/proc/self/clear_refs").write_text("5")


def held_memory(device: torch.device) -> int:
    """Memory of this process now in bytes, counted as `peak_memory` counts it; 0 where only a peak is known of it."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return _status("VmRSS") if sys.platform == "linux" else 0


def peak_memory(device: torch.device) -> int:
    """Peak memory of this process since `forget_peak` in bytes: allocated on the GPU for a CUDA device, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "linux":  # ru_maxrss would count the parent's peak from before exec
        return _status("VmHWM")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _status(key: str) -> int:
    """Bytes that Linux notes of this process."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{key}:")]
    return int(line.split()[1]) * 1024
