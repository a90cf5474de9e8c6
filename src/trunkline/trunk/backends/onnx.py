"""ONNX Runtime, in fp32.

Not in int8: its quantiser finds the scales of activations anew for each batch, so that a text's states would depend on the
texts beside it (and with fixed scales it is slower than OpenVINO; benchmarks/LOG.md).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from trunkline.trunk.backends import Graph, Ranges, backends
from trunkline.trunk.backends.graph import Exported, Inputs

FILE = "graph.onnx"


class OnnxRuntime:
    """A `Backend`."""

    packages: tuple[str, ...] = ("onnxruntime", "onnx")
    quantiser: str | None = None
    precisions: tuple[str, ...] = ("fp32",)

    def version(self) -> str:
        return metadata.version("onnxruntime")

    def write(self, exported: Exported, folder: Path, precision: str, ranges: Ranges | None) -> None:
        shutil.copytree(exported.path.parent, folder, dirs_exist_ok=True)  # large weights lie beside the graph

    def calibrate(self, exported: Exported, batches: Iterable[Inputs]) -> dict[str, tuple[float, float]]:
        raise NotImplementedError("it has no int8")

    def open(self, folder: Path, precision: str, threads: int) -> Graph:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3  # errors
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other work shares the cores
        return _Session(onnxruntime.InferenceSession(str(folder / FILE), options, providers=["CPUExecutionProvider"]))


class _Session:
    def __init__(self, session: Any) -> None:
        self._session = session
        self._takes = [one.name for one in session.get_inputs()]

    def __call__(self, inputs: Inputs) -> list[np.ndarray]:
        return self._session.run(None, {name: inputs[name] for name in self._takes})


backends.register("onnx")(OnnxRuntime())
