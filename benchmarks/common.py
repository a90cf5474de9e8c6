"""What every benchmark script shares: arguments, measuring two sides in turn, the machine, and the closing JSON object.

A script states one claim as a ratio between two sides. Both sides are measured in the same run, one after the other in
every round, because a machine that slows down half-way (heat, a neighbour) then slows both alike.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

import trunkline  # noqa: F401 (before torch, as a user's program would: it says how threads wait for each other)

# The processor's matrix units decide what bf16 and int8 cost, so a figure means little without them.
MATRIX_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8", "asimd", "bf16", "i8mm")

Times = dict[str, list[float]]  # side -> one measurement a round


def parser(doc: str | None, *, repeats: int) -> argparse.ArgumentParser:
    """Return the parser that every script starts from: ``--json`` and ``--repeats``; `doc` is the script's docstring."""
    arguments = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else there")
    arguments.add_argument(
        "--repeats", type=_at_least_one, default=repeats, help=f"rounds in which both sides are measured ({repeats})"
    )
    return arguments


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def seconds(side: Callable[[], object]) -> float:
    """Wall-clock seconds of one call; work queued on a GPU is waited for."""
    _synchronize()
    start = time.perf_counter()
    side()
    _synchronize()
    return time.perf_counter() - start


def _synchronize() -> None:
    torch = sys.modules.get("torch")  # a side without torch has nothing to wait for, and importing it here would cost seconds
    if torch is not None and torch.cuda.is_available():
        torch.cuda.synchronize()


def interleave(
    sides: Mapping[str, Callable[[], Any]],
    *,
    repeats: int,
    warmup: int = 1,
    measure: Callable[[Callable[[], Any]], float] = seconds,
) -> Times:
    """Measure every side once a round; odd rounds go backwards, so no side always comes first.

    Args:
        sides: name -> what to call.
        repeats: rounds that count.
        warmup: rounds before them that do not (caches, first-use compilation).
        measure: turns one call into a number, seconds by default; a side that measures itself takes ``lambda side: side()``.
    """
    times: Times = {name: [] for name in sides}
    for turn in range(-warmup, repeats):
        for name in sides if turn % 2 == 0 else reversed(sides):
            value = measure(sides[name])
            if turn >= 0:
                times[name].append(value)
    return times


def ratio_of(times: Times, over: str, under: str) -> float:
    """The median over rounds of `over` / `under`: both sides of a round met the same conditions, so they are paired."""
    return statistics.median(a / b for a, b in zip(times[over], times[under], strict=True))


def runs_of(times: Times, unit: str = "seconds", **about: Any) -> list[dict[str, Any]]:
    """One entry a side for the result's ``runs``: its name, its median, every measurement, and what `about` adds."""
    return [{"side": name, **about, "median": statistics.median(values), unit: values} for name, values in times.items()]


def holds(ratio: float, target: str) -> bool:
    """Whether a ratio meets a target such as ``">= 10"`` or ``"<= 1.35"``."""
    comparison, bound = target.split()
    return {">=": ratio >= float(bound), "<=": ratio <= float(bound)}[comparison]


def result(name: str, ratio: float, target: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The object a script ends with: ``{"name", "ratio", "target", "holds", "runs"}``; NaN or infinity is an error."""
    if not math.isfinite(ratio):
        raise ValueError(f"{name}: the measured ratio is {ratio}")
    return {"name": name, "ratio": round(ratio, 4), "target": target, "holds": holds(ratio, target), "runs": runs}


def finish(outcome: dict[str, Any], *, as_json: bool) -> None:
    """Print a script's outcome: the one JSON object on stdout, or a table of its runs and the verdict."""
    if as_json:
        print(json.dumps(outcome, allow_nan=False), flush=True)
        return
    console = Console()
    columns = list(
        dict.fromkeys(key for run in outcome["runs"] for key, value in run.items() if not isinstance(value, list | dict))
    )
    table = Table(*columns, title=outcome["name"])
    for run in outcome["runs"]:
        table.add_row(*(_cell(run.get(key)) for key in columns))
    console.print(table)
    console.print(verdict(outcome))


def verdict(outcome: dict[str, Any]) -> str:
    """One line: the ratio, its target, and whether it holds."""
    return f"ratio {outcome['ratio']:.3g}, target {outcome['target']}: {'holds' if outcome['holds'] else 'MISSED'}"


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def machine() -> dict[str, Any]:
    """What a figure depends on: processor, its matrix units, cores of this process, memory in GiB, accelerator, versions."""
    cpu, flags = _processor()
    return {
        "cpu": cpu,
        "flags": [flag for flag in MATRIX_FLAGS if flag in flags],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "accelerator": _accelerator(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version()}
        | {n: importlib.metadata.version(n) for n in ("torch", "transformers")},
    }


def _processor() -> tuple[str, set[str]]:
    info = Path("/proc/cpuinfo")
    fields: dict[str, str] = {}
    if info.exists():
        pairs = (line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
        fields = {key.strip(): value.strip() for key, value in pairs}
    name = fields.get("model name") or platform.processor() or platform.machine()
    return name, set((fields.get("flags") or fields.get("Features") or "").split())


def _accelerator() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None
