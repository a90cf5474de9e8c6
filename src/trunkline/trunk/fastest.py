"""How fast torch and the backends that are installed compute on this machine, measured once, and what `backend: auto` means.

A block of a transformer is timed in each of them, all in the same rounds. `auto` never chooses int8: its states are others.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trunkline.files import cache_dir, write_json
from trunkline.trunk.backends import backends, installed
from trunkline.trunk.backends.graph import OPSET, Exported
from trunkline.trunk.machine import DTYPES, GAIN, machine_key, remembered

TEXTS, TOKENS = 16, 64


@dataclass(frozen=True)
class Shape:
    """Of a block: width of its states, heads of its attention, width within its feed-forward part."""

    width: int = 384
    heads: int = 12
    inner: int = 1536


def pick_backend(backend: str, dtype: str, device: torch.device) -> tuple[str, str]:
    """Return the backend, and the dtype: as they are unless `backend` is "auto".

    Args:
        backend: "auto", "torch" or the name of one.
        dtype: "auto", or one that is wanted: bf16 is torch's, int8 OpenVINO's.
        device: "auto" is torch where it is no CPU.
    """
    if backend != "auto":
        return backend, dtype
    if dtype == "int8":
        return "openvino", dtype
    if dtype == "bf16" or device.type != "cpu":
        return "torch", dtype
    seconds = measured(device, Shape())
    if dtype == "fp32":
        seconds = {name: value for name, value in seconds.items() if name != "torch bf16"}
    plain = seconds["torch fp32"]
    best = min(seconds, key=lambda name: seconds[name])
    chosen, precision = (best if seconds[best] * GAIN < plain else "torch fp32").split()
    return chosen, precision


def sides(int8: bool = False) -> list[tuple[str, str]]:
    """(backend, dtype) of what is installed: fp32 and bf16 of torch, fp32 of each backend, and `int8` where one has it."""
    found = [("torch", name) for name in DTYPES]
    for name in backends.names():
        if installed(name):
            has_int8 = int8 and "int8" in backends.get(name).precisions and installed(name, "int8")
            found += [(name, "fp32"), *([(name, "int8")] if has_int8 else [])]
    return found


def measured(device: torch.device, shape: Shape, int8: bool = False, measure: bool = True) -> dict[str, float]:
    """Milliseconds of a block by "BACKEND DTYPE", measured once for a machine, these versions and this shape.

    Args:
        device: where torch runs.
        shape: of the block.
        int8: whether to measure it too.
        measure: False: empty where it was not measured before.
    """
    path, wanted = cache_dir() / "machine.json", sides(int8)
    names = list(dict.fromkeys(backend for backend, _ in wanted if backend != "torch"))
    versions = ", ".join(f"{name} {backends.get(name).version()}" for name in names) or "no backend"
    key = f"{machine_key(device)}, {versions}, block {shape.width} {shape.heads} {shape.inner}{' with int8' if int8 else ''}"
    known = remembered(path)
    found = known.get(key, {}).get("milliseconds")
    if not isinstance(found, dict) or set(found) != {" ".join(side) for side in wanted}:
        if not measure:
            return {}
        with tempfile.TemporaryDirectory(prefix="trunkline-") as folder:
            runs = _runs(wanted, Path(folder), shape)
            seconds = dict.fromkeys(runs, math.inf)
            for _ in range(6):  # in turn, so that a busy moment hits all; the first round warms up
                for name, run in runs.items():
                    began = time.perf_counter()
                    run()
                    seconds[name] = min(seconds[name], time.perf_counter() - began)
        found = {name: round(value * 1000, 2) for name, value in seconds.items()}
        known[key] = {"milliseconds": found}
        with contextlib.suppress(OSError):  # a cache that cannot be written costs the measurement again, no more
            write_json(path, known)
    return {name: float(value) for name, value in found.items()}


def _runs(wanted: Sequence[tuple[str, str]], folder: Path, shape: Shape) -> dict[str, Callable[[], object]]:
    """What runs the block, by "BACKEND DTYPE"."""
    states = torch.randn(TEXTS, TOKENS, shape.width, generator=torch.Generator().manual_seed(1))
    inputs, made = {"states": states.numpy()}, dict[str, Callable[[], object]]()
    exported: Exported | None = None
    for backend, dtype in wanted:
        if backend == "torch":
            kind = DTYPES[dtype]
            made[f"torch {dtype}"] = partial(_run, _Block(shape).eval().to(kind), states.to(kind))
            continue
        exported = exported or _exported(folder / "exported", shape, states)
        place, compiler = folder / f"{backend}-{dtype}", backends.get(backend)
        place.mkdir()
        ranges = compiler.calibrate(exported, [inputs]) if dtype == "int8" else None
        compiler.write(exported, place, dtype, ranges)
        made[f"{backend} {dtype}"] = partial(compiler.open(place, dtype, torch.get_num_threads()), inputs)
    return made


def _exported(folder: Path, shape: Shape, states: Tensor) -> Exported:
    folder.mkdir()
    file = folder / "graph.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in graph.py
        torch.onnx.export(
            _Block(shape, written_out=True).eval(),
            (states,),
            str(file),
            input_names=["states"],
            dynamic_axes={"states": {0: "texts", 1: "tokens"}},
            dynamo=False,
            opset_version=OPSET,
        )
    return Exported(file, ("states",), (0,))


@torch.no_grad()
def _run(block: nn.Module, states: Tensor) -> Tensor:
    return block(states)


class _Block(nn.Module):
    """A block of BERT's kind; `written_out`: with its attention as a graph has it (see graph.py)."""

    def __init__(self, shape: Shape, written_out: bool = False) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)

        def drawn(rows: int, columns: int) -> nn.Parameter:
            return nn.Parameter(0.02 * torch.randn(rows, columns, generator=generator))

        self.width, self.heads, self.written_out = shape.width, shape.heads, written_out
        self.query, self.key, self.value, self.out = (drawn(shape.width, shape.width) for _ in range(4))
        self.up, self.down = drawn(shape.inner, shape.width), drawn(shape.width, shape.inner)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (F.linear(x, w).unflatten(-1, (self.heads, -1)).transpose(1, 2) for w in (self.query, self.key, self.value))
        if self.written_out:
            mixed = (q @ k.transpose(2, 3) * (self.width // self.heads) ** -0.5).softmax(-1) @ v
        else:
            mixed = F.scaled_dot_product_attention(q, k, v)
        x = F.layer_norm(x + F.linear(mixed.transpose(1, 2).flatten(2), self.out), (self.width,))
        return F.layer_norm(x + F.linear(F.gelu(F.linear(x, self.up)), self.down), (self.width,))
