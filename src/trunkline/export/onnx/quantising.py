"""A graph whose trunk is computed in int8: post-training quantisation of the ONNX graph by NNCF, calibrated on sample texts.

Weights by output channel, activations by tensor with fixed ranges, so that an answer does not depend on the texts beside it (as
it would with onnxruntime's own dynamic quantisation, which also changed more answers). Outliers of activations are moved into
the weights first (SmoothQuant, Xiao et al. 2023, arXiv 2211.10438). Branches stay in fp32: they are a small part of the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trunkline.data.corpus import Corpus
from trunkline.export.onnx.together import Together
from trunkline.export.onnx.traced import TRUNK
from trunkline.trunk.backends.graph import Inputs
from trunkline.trunk.backends.openvino import quiet_nncf

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto


def calibration(together: Together, corpus: Corpus) -> list[Inputs]:
    """Batches of one text each, without padding, whose activations are measured."""
    trunk = together.trunk
    encoded = trunk.encode(corpus.texts, pairs=corpus.pairs, max_length=together.max_length)
    made = (trunk.collate(encoded, [number]) for number in range(len(corpus)))
    return [{name: batch[name].numpy().astype(np.int64) for name in together.inputs} for batch in made]


def without_copies(nodes: Sequence[NodeProto], graph: GraphProto) -> list[NodeProto]:
    """The nodes, reading initialisers themselves where they read one through an Identity, as torch writes equal weights.

    NNCF 3.4 looks for the weight of a node under the name that the node reads.
    """
    copied: dict[str, str] = {}
    kept, values, answers = [], {value.name for value in graph.initializer}, {answer.name for answer in graph.output}
    for node in nodes:  # sources come first in a graph
        node.input[:] = [copied.get(name, name) for name in node.input]
        if node.op_type == "Identity" and node.input[0] in values and node.output[0] not in answers:
            copied[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    return kept


def quantise(path: Path, batches: Sequence[Inputs]) -> None:
    """Replace the graph at `path`, in fp32, by one in int8."""
    import onnx

    model = onnx.load(path)
    for node in model.graph.node:
        if node.op_type == "Constant":  # NNCF looks for all of them among the initialisers
            value = onnx.TensorProto()
            value.CopyFrom(node.attribute[0].t)
            value.name = node.output[0]
            model.graph.initializer.append(value)
    nodes = without_copies([node for node in model.graph.node if node.op_type != "Constant"], model.graph)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    with quiet_nncf() as nncf:
        made = nncf.quantize(
            model,
            nncf.Dataset(batches, dict),
            model_type=nncf.ModelType.TRANSFORMER,
            preset=nncf.QuantizationPreset.MIXED,  # activations with a zero point
            subset_size=len(batches),
            ignored_scope=nncf.IgnoredScope(
                names=[node.name for node in nodes if not node.name.startswith(TRUNK)], validate=False
            ),
        )
    onnx.save(made, path)
