"""OpenVINO. int8: weights by output channel, activations by tensor with fixed ranges (post-training quantisation by NNCF).

Which activations are quantised follows from the graph alone. So their ranges, two numbers each, are all that calibration adds:
a branch that was trained on quantised states keeps them (`Trunk.calibration`), and the same graph is made of them anywhere.
For that, the two steps of NNCF that move weights by what calibration has seen are off (smoothing, bias correction); branches
learn on the states as they come out.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, wraps
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from trunkline.errors import TrunklineError
from trunkline.trunk.backends import Graph, Ranges, backends
from trunkline.trunk.backends.graph import Exported, Inputs

FILE = "graph.xml"
LENT = 8  # requests of a graph whose memory is handed out at the same time
STREAMS = 2  # passes that run at the same time, at most, each on the threads that one is to have: as many as a server's workers
_PRECISION = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}  # of what is not quantised


class OpenVino:
    """A `Backend`."""

    packages: tuple[str, ...] = ("openvino", "onnx")
    quantiser: str | None = "nncf"
    precisions: tuple[str, ...] = ("fp32", "bf16", "int8")

    def version(self) -> str:
        return metadata.version("openvino")

    def write(self, exported: Exported, folder: Path, precision: str, ranges: Ranges | None) -> None:
        openvino, model = _openvino(), _read(exported)
        if precision == "int8":
            assert ranges is not None
            model = _quantised(model, [_any_batch(model)])
            _replace(model, ranges)
        openvino.save_model(model, folder / FILE, compress_to_fp16=False)

    def calibrate(self, exported: Exported, batches: Iterable[Inputs]) -> dict[str, tuple[float, float]]:
        return {name: (low, high) for name, (low, high, _) in _quantisers(_quantised(_read(exported), list(batches))).items()}

    def open(self, folder: Path, precision: str, threads: int) -> Graph:
        streams = min(STREAMS, max(1, _cores() // threads))
        options = {
            "INFERENCE_PRECISION_HINT": _PRECISION[precision],
            "INFERENCE_NUM_THREADS": threads * streams,
            "NUM_STREAMS": streams,  # without PERFORMANCE_HINT, which would choose it
            "ENABLE_CPU_PINNING": False,  # other work shares the cores
        }
        return _Compiled(_openvino().Core().compile_model(folder / FILE, "CPU", options))


class _Compiled:
    """A compiled model and the requests that run it, one for each thread that runs it at the same time.

    States are handed out where the request has written them, as copies of all layers take an eighth of a pass in int8. So a
    request is idle again when none of its arrays is left. Where many are kept, copies are: a request takes more memory than
    its states.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._takes = [one.any_name for one in model.inputs]
        self._idle: deque[Any] = deque()  # without a lock, as a request comes back from whatever line lets its last array go
        self._made = 0
        self._turn = threading.Lock()

    def __call__(self, inputs: Inputs) -> list[np.ndarray]:
        try:
            request = self._idle.pop()
        except IndexError:
            with self._turn:
                request = self._model.create_infer_request()
                self._made += 1
        found = request.infer([inputs[name] for name in self._takes], share_inputs=True, share_outputs=True)
        states = found.to_tuple()
        if self._made - len(self._idle) > LENT:
            copies = [state.copy() for state in states]
            self._idle.append(request)
            return copies
        lease = _Lease(request, self._idle)
        return [np.asarray(_Lent(state, lease)) for state in states]


class _Lease:
    """A request whose memory is being read."""

    def __init__(self, request: Any, idle: deque[Any]) -> None:
        self._request, self._idle = request, idle

    def __del__(self) -> None:
        self._idle.append(self._request)


class _Lent:
    """What an array is made of that holds a lease for as long as it, or anything that reads its memory, is there."""

    def __init__(self, state: np.ndarray, lease: _Lease) -> None:
        self.__array_interface__ = state.__array_interface__
        self._held = state, lease


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _read(exported: Exported) -> Any:
    return _openvino().Core().read_model(exported.path)


def _any_batch(model: Any) -> Inputs:
    """A text of four tokens, whatever the model reads of it."""
    batch = {}
    for one in model.inputs:
        sizes = [
            size.get_length() if size.is_static else free for size, free in zip(one.partial_shape, (1, 4, 4), strict=False)
        ]
        batch[one.any_name] = np.ones(sizes, dtype=one.element_type.to_dtype())
    return batch


def _quantised(model: Any, batches: list[Inputs]) -> Any:
    with _without_reports():
        import nncf
        from nncf.quantization.advanced_parameters import AdvancedSmoothQuantParameters

    unmoved = nncf.AdvancedQuantizationParameters(
        disable_bias_correction=True,
        smooth_quant_alphas=AdvancedSmoothQuantParameters(convolution=-1, matmul=-1),
    )
    with _quiet():
        return nncf.quantize(
            model,
            nncf.Dataset(batches, dict),
            model_type=nncf.ModelType.TRANSFORMER,
            preset=nncf.QuantizationPreset.MIXED,  # activations with a zero point: nearer, and faster without AMX
            subset_size=len(batches),
            advanced_parameters=unmoved,
        )


def _quantisers(model: Any) -> dict[str, tuple[float, float, Any]]:
    """By name, the range and the node of each quantised activation."""
    found = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() == "FakeQuantize" and node.input_value(0).get_node().get_type_name() != "Constant":
            low, high = (float(node.input_value(i).get_node().data.reshape(-1)[0]) for i in (1, 2))
            found[node.get_friendly_name()] = low, high, node
    return found


def _replace(model: Any, ranges: Ranges) -> None:
    """Give the quantised activations of `model` these ranges."""
    found = _quantisers(model)
    if missing := found.keys() - ranges.keys():  # the ranges are those of all layers, the graph may have fewer
        raise TrunklineError(
            f"int8: this version of OpenVINO and NNCF quantises {len(missing)} activations that have no range in the "
            f"calibration, such as {min(missing)}; calibrate again"
        )
    for name, (_, _, node) in found.items():
        for port in (1, 2, 3, 4):
            old = node.input_value(port).get_node()
            value = np.full(old.data.shape, ranges[name][(port - 1) % 2], dtype=np.float32)
            node.input(port).replace_source_output(_openvino().opset13.constant(value).output(0))


def _openvino() -> Any:
    with _without_reports():
        import openvino

        # What OpenVINO knows of numpy's types it makes at their first use, and two threads that use them first wait for each
        # other for ever (seen with 2026.4: a guard of C++ against the interpreter's lock). Here one is alone.
        openvino.Type.f32.to_dtype()
        return openvino


_IMPORTING = threading.RLock()


@contextmanager
def _without_reports() -> Iterator[None]:
    """Both libraries report their use to their makers over the network when they are imported, but for automated tests."""
    told = {"CI": "true", "NNCF_CI": "1"}
    with _IMPORTING:
        before, kind = {name: os.environ.get(name) for name in told}, logging.getLoggerClass()
        os.environ.update(told)
        try:
            yield
        finally:
            logging.setLoggerClass(kind)  # NNCF makes its own the one of every library
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


@contextmanager
def quiet_nncf() -> Iterator[Any]:
    """Import NNCF, which within the block prints nothing in this thread."""
    with _without_reports():
        import nncf
    with _quiet():
        yield nncf


_HUSHED: ContextVar[bool] = ContextVar("trunkline_nncf_hushed", default=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """NNCF prints progress bars and advice; within the block it does not, in this thread alone."""
    _make_quiet()
    before = _HUSHED.set(True)
    try:
        yield
    finally:
        _HUSHED.reset(before)


@cache
def _make_quiet() -> None:
    """Let NNCF's bars and log look whether they are to be quiet; neither has a switch for one thread."""
    from nncf.common.logging.track_progress import track

    made = track.__init__

    @wraps(made)
    def init(self: Any, *given: Any, **named: Any) -> None:
        made(self, *given, **{**named, "disable": True} if _HUSHED.get() else named)

    track.__init__ = init
    logging.getLogger("nncf").addFilter(lambda record: record.levelno >= logging.ERROR or not _HUSHED.get())


backends.register("openvino")(OpenVino())
