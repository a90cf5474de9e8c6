"""A trunk that a backend computes: its graphs, made once for each set of layers and kept in the cache.

A graph lies in `compiled/KEY` of the cache: `graph.json` says what it was made of and has the sha256 of the files beside it,
which is compared when it is opened; what is broken is made again (kept_graphs.py).
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
import threading
from collections.abc import Collection, Iterable
from dataclasses import astuple
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import torch
from torch import Tensor

from trunkline.errors import BadInput, TrunklineError
from trunkline.files import atomic_directory, cache_dir, sha256_file, write_json
from trunkline.trunk.backends import Graph, Ranges, find_backend
from trunkline.trunk.backends.graph import export
from trunkline.trunk.kept_graphs import DESCRIPTION, prune, sound
from trunkline.trunk.stream import Receive, checked_layers

if TYPE_CHECKING:
    from trunkline.trunk.load import Trunk

log = logging.getLogger(__name__)

FORMAT = 2


class CompiledTrunk:
    """Computes the states of a trunk by a backend.

    Args:
        trunk: in fp32, on the CPU; its own weights are read when a graph is made, and not when one is run. Where it has this as
            its `compiled`, they take no memory once a graph is open.
        backend: a name in `backends`.
        precision: fp32, bf16 or int8.
        ranges: of the activations, for int8 where `calibrate` found them before.

    Raises:
        BadInput: no such backend, not installed, or without this precision.
    """

    def __init__(self, trunk: Trunk, backend: str, precision: str, ranges: Ranges | None = None) -> None:
        self.name, self.precision = backend, precision
        self.ranges = ranges
        self._backend = find_backend(backend, precision)
        self._trunk = trunk
        self._graphs: dict[tuple[tuple[int, ...], tuple[str, ...]], Graph] = {}
        self._turn = threading.Lock()

    @property
    def calibrates(self) -> bool:
        """Whether it cannot run before `calibrate`."""
        return self.precision == "int8" and self.ranges is None

    @property
    def computed_in(self) -> str:
        """What its states depend on besides the trunk's fingerprint."""
        return f"{precision_name(self.precision, self.ranges)}, {self.name}"

    def calibrate(self, batches: Iterable[dict[str, Tensor]]) -> None:
        """Measure the ranges of activations on sample batches (see `Trunk.collate`), through all layers."""
        arrays = [{name: value.numpy() for name, value in batch.items()} for batch in batches]
        if not arrays:
            raise BadInput("int8: no text to calibrate with; expected at least one")
        with self._turn, tempfile.TemporaryDirectory(prefix="trunkline-") as folder:
            self._trunk.read_weights_again()
            layers = range(self._trunk.num_layers + 1)
            exported = export(self._trunk, arrays[0].keys(), layers, Path(folder) / "graph.onnx")
            self.ranges = self._backend.calibrate(exported, arrays)

    def run(self, inputs: dict[str, Tensor], layers: Collection[int], receive: Receive) -> None:
        """Hand the wanted states (B, T, K), fp32, to `receive`, in rising order. Threads may run it at the same time."""
        wanted = checked_layers(layers, self._trunk.num_layers)
        if not wanted:
            return
        if self.calibrates:
            raise BadInput("int8: found no calibration; expected CompiledTrunk.calibrate before the first pass")
        kept, graph = self._graph(tuple(sorted(wanted)), tuple(inputs))
        states = graph({name: value.numpy() for name, value in inputs.items()})
        for layer, state in zip(kept, states, strict=True):
            if layer in wanted:
                receive(layer, torch.from_numpy(state))

    def _graph(self, wanted: tuple[int, ...], names: tuple[str, ...]) -> tuple[tuple[int, ...], Graph]:
        """A graph that gives the wanted layers, and those that it gives: of the open ones the least deep, or a new one."""
        fitting = [(kept[-1], len(kept), kept) for kept, takes in self._graphs if takes == names and set(wanted) <= set(kept)]
        if not fitting:
            with self._turn:
                if (wanted, names) not in self._graphs:
                    self._graphs = {**self._graphs, (wanted, names): self._opened(wanted, names)}
                    if self._trunk.compiled is self:  # nobody else runs it, and the backend has weights of its own
                        self._trunk.put_weights_away()
            return wanted, self._graphs[wanted, names]
        kept = min(fitting)[2]
        return kept, self._graphs[kept, names]

    def _opened(self, layers: tuple[int, ...], names: tuple[str, ...]) -> Graph:
        parts = self._parts(layers, names)
        path = cache_dir() / "compiled" / hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        if not sound(path, parts):
            path.parent.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(path.with_name(f"{path.name}.lock")):
                if not sound(path, parts):  # another process may have made it meanwhile
                    self._make(path, parts, layers, names)
            prune(path.parent, keep=path)
        try:
            return self._backend.open(path, self.precision, torch.get_num_threads())
        except Exception as error:  # of the backend's library, which has kinds of its own
            raise TrunklineError(f"{self._trunk.name}: {self.name} cannot compile its graph ({_first_line(error)})") from error

    def _make(self, path: Path, parts: dict[str, Any], layers: tuple[int, ...], names: tuple[str, ...]) -> None:
        log.info("compiling %s with %s in %s", self._trunk.name, self.name, self.precision)
        self._trunk.read_weights_again()
        with atomic_directory(path) as folder, tempfile.TemporaryDirectory(prefix="trunkline-", dir=path.parent) as aside:
            exported = export(self._trunk, names, layers, Path(aside) / "graph.onnx")
            try:
                self._backend.write(exported, folder, self.precision, self.ranges)
            except TrunklineError:
                raise
            except Exception as error:
                raise TrunklineError(f"{self._trunk.name}: {self.name} cannot read its graph ({_first_line(error)})") from error
            files = {file.name: sha256_file(file) for file in sorted(folder.iterdir())}
            write_json(folder / DESCRIPTION, {"made_of": parts, "files": files})

    def _parts(self, layers: tuple[int, ...], names: tuple[str, ...]) -> dict[str, Any]:
        """All that a graph depends on."""
        trunk, backend = self._trunk, self._backend
        packages = ["torch", "transformers", *backend.packages]
        if self.precision == "int8" and backend.quantiser:
            packages.append(backend.quantiser)
        return {
            "format": FORMAT,
            "trunk": list(astuple(trunk.fingerprint)),
            "stack": trunk.stack,
            "backend": self.name,
            "precision": self.precision,
            "ranges": ranges_digest(self.ranges),
            "layers": list(layers),
            "inputs": list(names),
            "versions": {package: version(package) for package in packages},
        }


def ranges_digest(ranges: Ranges | None) -> str | None:
    """sha256 (hex) of a calibration; None where there is none."""
    if ranges is None:
        return None
    return hashlib.sha256(json.dumps(sorted((name, *pair) for name, pair in ranges.items())).encode()).hexdigest()


def precision_name(dtype: str, ranges: Ranges | None) -> str:
    """fp32, bf16, or int8 and the sha256 of its calibration."""
    return dtype if ranges is None else f"{dtype} {ranges_digest(ranges)}"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1][:200]
