"""What `backend: auto` means on this machine: the fastest of torch and of the backends that are installed, measured once.

A block of a transformer is timed in each of them, all in the same rounds. int8 is never chosen: its states are others.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trunkline.files import cache_dir, write_json
from trunkline.trunk.backends import backends, installed
from trunkline.trunk.backends.graph import OPSET, Exported
from trunkline.trunk.machine import DTYPES, GAIN, machine_key, remembered

TEXTS, TOKENS, HEADS, WIDTH = 16, 64, 12, 384


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
    seconds = _measured(device)
    if dtype == "fp32":
        seconds = {name: value for name, value in seconds.items() if name != "torch bf16"}
    plain = seconds["torch fp32"]
    best = min(seconds, key=lambda name: seconds[name])
    chosen, precision = (best if seconds[best] * GAIN < plain else "torch fp32").split()
    return chosen, precision


def _measured(device: torch.device) -> dict[str, float]:
    """Milliseconds of a block by "BACKEND DTYPE", measured once for a machine and these versions."""
    path, names = cache_dir() / "machine.json", [name for name in backends.names() if installed(name)]
    sides = ["torch fp32", "torch bf16", *(f"{name} fp32" for name in names)]
    key = f"{machine_key(device)}, {', '.join(f'{name} {backends.get(name).version()}' for name in names) or 'no backend'}"
    known = remembered(path)
    found = known.get(key, {}).get("milliseconds")
    if not isinstance(found, dict) or set(found) != set(sides):
        with tempfile.TemporaryDirectory(prefix="trunkline-") as folder:
            runs = _runs(names, Path(folder))
            seconds = dict.fromkeys(sides, float("inf"))
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


def _runs(names: list[str], folder: Path) -> dict[str, Callable[[], object]]:
    """What runs the block, by side."""
    block, states = _Block().eval(), torch.ones(TEXTS, TOKENS, WIDTH)
    made: dict[str, Callable[[], object]] = {}
    for name, kind in DTYPES.items():
        own, x = _Block().eval().to(kind), states.to(kind)
        made[f"torch {name}"] = partial(_run, own, x)
    for name in names:
        place = folder / name
        (place / "exported").mkdir(parents=True)
        file = place / "exported" / "graph.onnx"
        free = {"states": {0: "texts", 1: "tokens"}}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as in graph.py
            torch.onnx.export(
                block, (states,), str(file), input_names=["states"], dynamic_axes=free, dynamo=False, opset_version=OPSET
            )
        backends.get(name).write(Exported(file, ("states",), (0,)), place, "fp32", None)
        graph = backends.get(name).open(place, "fp32", torch.get_num_threads())
        made[f"{name} fp32"] = partial(graph, {"states": states.numpy()})
    return made


@torch.no_grad()
def _run(block: nn.Module, states: Tensor) -> Tensor:
    return block(states)


class _Block(nn.Module):
    """A block of BERT's kind: width 384, 12 heads, feed-forward 1,536."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)

        def drawn(rows: int, columns: int) -> nn.Parameter:
            return nn.Parameter(0.02 * torch.randn(rows, columns, generator=generator))

        self.qkv, self.out = drawn(3 * WIDTH, WIDTH), drawn(WIDTH, WIDTH)
        self.up, self.down = drawn(4 * WIDTH, WIDTH), drawn(WIDTH, 4 * WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in F.linear(x, self.qkv).chunk(3, dim=-1))
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = F.layer_norm(x + F.linear(mixed, self.out), (WIDTH,))
        return F.layer_norm(x + F.linear(F.gelu(F.linear(x, self.up)), self.down), (WIDTH,))
