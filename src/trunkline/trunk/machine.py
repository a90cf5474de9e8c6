"""What `auto` means on this machine: CUDA if there is any, and the faster of float32 and bfloat16, measured once.

Newer processors multiply bfloat16 matrices several times faster than float32 ones (AMX, tensor cores); older ones only
emulate it and are slower. No table of models stays right for long, so a block of a transformer is timed in both.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from trunkline.errors import BadInput
from trunkline.files import cache_dir, write_json

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
GAIN = 1.1  # bfloat16 rounds, so it has to be clearly faster to be chosen


def pick_device(device: str | torch.device) -> torch.device:
    """Return the device called `device`; "auto" is CUDA where there is any, else the CPU. BadInput for another word."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError:
        raise BadInput(f"unknown name {device!r}; expected auto, cpu, cuda or cuda:N", key="device") from None
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise BadInput(f"{device!r} was requested, but {torch.cuda.device_count()} CUDA devices found", key="device")
    return found


def widest(device: torch.device) -> torch.dtype:
    """The dtype for sums on `device`: float64, or float32 on Apple's GPUs, which have no other."""
    return torch.float32 if device.type == "mps" else torch.float64


def onto(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """The array as a tensor on `device`; float64 only where that has it."""
    tensor = torch.from_numpy(array)
    return (tensor.to(widest(device)) if tensor.dtype == torch.float64 else tensor).to(device)


def pick_dtype(dtype: str, device: torch.device) -> str:
    """Return "fp32" or "bf16"; "auto" is the faster on `device`, measured once per machine and torch and then remembered."""
    if dtype in DTYPES:
        return dtype
    if dtype != "auto":
        raise BadInput(f"unknown name {dtype!r}; expected auto, fp32 or bf16", key="dtype")
    path, key = cache_dir() / "machine.json", machine_key(device)
    known = remembered(path)
    if known.get(key, {}).get("dtype") not in DTYPES:
        seconds = {name: float("inf") for name in DTYPES}
        for _ in range(4):  # in turn, so that a busy moment hits both; the first round warms up
            for name, kind in DTYPES.items():
                seconds[name] = min(seconds[name], _block_seconds(kind, device))
        faster = "bf16" if seconds["bf16"] * GAIN < seconds["fp32"] else "fp32"
        known[key] = {"dtype": faster, "milliseconds": {name: round(s * 1000, 2) for name, s in seconds.items()}}
        with contextlib.suppress(OSError):  # a cache that cannot be written costs the measurement again, no more
            write_json(path, known)
    return known[key]["dtype"]


def remembered(path: Path) -> dict[str, dict]:
    """What was measured on machines before, by their keys; empty where the file is missing or broken."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {k: v for k, v in known.items() if isinstance(v, dict)} if isinstance(known, dict) else {}


def machine_key(device: torch.device) -> str:
    """What a measurement holds for: the processor or GPU, its instructions, and torch's version."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{_processor()} {torch.backends.cpu.get_cpu_capability()}"
        if device.type != "cpu":  # a GPU that is part of the processor, as Apple's are
            name = f"{device.type} of {name}"
    return f"{name}, torch {torch.__version__}"


def described(device: torch.device) -> dict[str, object]:
    """The hardware as plain JSON: processor, cores that this process may use, memory in bytes; of a GPU its name and memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found: dict[str, object] = {"processor": _processor(), "cores": cores, "memory_bytes": machine_bytes()}
    if device.type == "cuda":
        gpu = torch.cuda.get_device_properties(device)
        found |= {"gpu": gpu.name, "gpu_memory_bytes": gpu.total_memory}
    return found


def machine_bytes() -> int | None:
    """Memory of this machine, None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@torch.no_grad()
def _block_seconds(dtype: torch.dtype, device: torch.device) -> float:
    """Time one transformer block: 1,024 tokens of width 384, 12 heads, feed-forward 1,536."""
    heads, width = 12, 384
    x = torch.ones(16, 64, width, dtype=dtype, device=device)
    qkv, out, up, down = (
        torch.full(shape, 0.01, dtype=dtype, device=device)
        for shape in ((3 * width, width), (width, width), (4 * width, width), (width, 4 * width))
    )
    _synchronise(device)
    start = time.perf_counter()
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in F.linear(x, qkv).chunk(3, dim=-1))
    x = F.layer_norm(x + F.linear(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2), out), (width,))
    F.layer_norm(x + F.linear(F.gelu(F.linear(x, up)), down), (width,))
    _synchronise(device)
    return time.perf_counter() - start


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
