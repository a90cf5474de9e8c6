"""A graph whose trunk computes its matrix products in int8: weights by output channel, activations by batch (onnxruntime).

Branches stay in fp32: they are a small part of the time, and what an answer depends on most.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trunkline.export.onnx.traced import TRUNK


def quantise(path: Path) -> None:
    """Replace the graph at `path`, in fp32, by one in int8."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    nodes = onnx.load(path, load_external_data=False).graph.node
    # The quantiser first makes a MatMul with this ending of a Gemm.
    kept = [name for node in nodes if not node.name.startswith(TRUNK) for name in (node.name, f"{node.name}_MatMul")]
    made = path.with_name("int8.onnx")
    with _quiet():
        quantize_dynamic(
            path,
            made,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            reduce_range=True,  # 7 bits of weights: the same numbers on processors whose sums of 8 bits overflow
            weight_type=QuantType.QInt8,
            nodes_to_exclude=kept,
            extra_options={"MatMulConstBOnly": True},
        )
    made.replace(path)


@contextmanager
def _quiet() -> Iterator[None]:
    """Within the block, onnxruntime's quantiser does not log its advice."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
