"""What is served is run, and so compiled, before a request needs it."""

from __future__ import annotations

import pytest
from bundletools import TEXTS, make

from trunkline.model.bundle import Bundle
from trunkline.serving.engine import Engine
from trunkline.serving.request import Request
from trunkline.trunk.compiled import CompiledTrunk
from trunkline.trunk.load import load_trunk

pytest.importorskip("onnxruntime")


def test_no_request_waits_for_what_is_compiled(tiny_trunk_dir, monkeypatch):
    opened, make_graph = [], CompiledTrunk._opened

    def counted(self, layers, names):
        opened.append(layers)
        return make_graph(self, layers, names)

    monkeypatch.setattr(CompiledTrunk, "_opened", counted)
    torch, onnx = (load_trunk(tiny_trunk_dir, dtype="fp32", device="cpu", backend=backend) for backend in ("torch", "onnx"))
    last, every = (make(torch, "sequence", method=method) for method in ("probe", "adalayers"))
    pair = make(torch, "sequence", method="probe", text_pair="other")
    with Engine(Bundle(onnx, {"last": last, "pair": pair})) as engine:
        assert opened == [(onnx.num_layers,)] * 2  # for texts, and for pairs, which have token types
        engine.answer(Request(TEXTS, TEXTS))
        assert len(opened) == 2
        engine.add("every", every)
        assert opened[2:] == [tuple(range(onnx.num_layers + 1))]
        for tasks in (["last"], ["every"], ["last", "every"]):
            engine.answer(Request(TEXTS, tasks=tasks))
        engine.answer(Request(TEXTS, TEXTS))
        assert len(opened) == 3
