"""Backends that compute a frozen trunk in torch's place: its graph compiled for this machine, one file each.

A frozen trunk never changes, so that its graph can be exported once, quantised if asked for, and kept (trunk/compiled.py).
A backend writes what it runs into a folder and opens it again from there; it knows nothing of caches, texts or branches.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from trunkline.errors import BadInput
from trunkline.registry import Registry
from trunkline.trunk.backends.graph import Exported, Inputs

Ranges = Mapping[str, tuple[float, float]]
"""By activation of the graph that is quantised, the least and the largest number that 8 bits stand for."""


class Graph(Protocol):
    """A compiled graph, ready to run; threads may share it."""

    def __call__(self, inputs: Inputs) -> list[np.ndarray]:
        """Run a batch as `Trunk.collate` makes it; the states fp32 (B, T, K) of the layers it was compiled for, rising.

        The arrays are the caller's own.
        """


class Backend(Protocol):
    """One way to compile and run a graph.

    Attributes:
        packages: what must be installed, as `import` names it; the first one's version decides about the result.
        quantiser: what must be installed for int8 besides; None where it has no int8.
        precisions: those it has, of fp32, bf16 and int8.
    """

    packages: tuple[str, ...]
    quantiser: str | None
    precisions: tuple[str, ...]

    def version(self) -> str:
        """Of what computes."""

    def write(self, exported: Exported, folder: Path, precision: str, ranges: Ranges | None) -> None:
        """Write into `folder` what `open` reads, in `precision`; `ranges` for int8."""

    def calibrate(self, exported: Exported, batches: Iterable[Inputs]) -> dict[str, tuple[float, float]]:
        """Measure the ranges of activations on sample batches."""

    def open(self, folder: Path, precision: str, threads: int) -> Graph:
        """Open what `write` has written, to run each pass on so many threads."""


backends: Registry[Backend] = Registry("backend", "trunkline.trunk.backends")


def find_backend(name: str, precision: str) -> Backend:
    """Return the backend called `name`; BadInput if it is unknown, not installed, or has no such precision."""
    found = backends.get(name, key="backend")
    if precision not in found.precisions:
        raise BadInput(f"{precision!r}: backend {name} has {_listed(found.precisions)}", key="dtype")
    needed = _needed(found, precision)
    if missing := [package for package in needed if importlib.util.find_spec(package) is None]:
        raise BadInput(
            f"{name!r} was requested, but {' and '.join(missing)} is not installed; install it with pip install "
            f"'trunkline[{name}]'",
            key="backend",
        )
    return found


def installed(name: str, precision: str = "fp32") -> bool:
    """Whether the packages that a known backend runs with are there; torch always is."""
    return name == "torch" or all(importlib.util.find_spec(package) for package in _needed(backends.get(name), precision))


def _needed(backend: Backend, precision: str) -> list[str]:
    return [*backend.packages, *([backend.quantiser] if precision == "int8" and backend.quantiser else [])]


def _listed(names: Sequence[str]) -> str:
    return " and ".join((", ".join(names[:-1]), names[-1]) if len(names) > 1 else names)
