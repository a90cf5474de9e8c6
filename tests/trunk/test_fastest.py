"""`backend: auto`: which of the measured sides is taken, how often it is measured, and that all sides compute the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trunkline.trunk import fastest
from trunkline.trunk.fastest import Shape, pick_backend
from trunkline.trunk.load import load_trunk
from trunkline.trunk.speeds import advice, shape_of, speeds

pytest.importorskip("openvino")
pytest.importorskip("onnxruntime")

CPU = torch.device("cpu")


@pytest.fixture
def measured(monkeypatch):
    """measured(milliseconds by side) -> the sides that were run; a clock of its own goes forward by so much in each."""
    clock, ran = [0.0], []

    def set_to(milliseconds):
        ran.clear()

        def run(name, value):
            ran.append(name)
            clock[0] += value / 1000

        monkeypatch.setattr(
            fastest, "_runs", lambda wanted, folder, shape: {n: lambda n=n, v=v: run(n, v) for n, v in milliseconds.items()}
        )
        monkeypatch.setattr(fastest.time, "perf_counter", lambda: clock[0])
        return ran

    return set_to


def sides(fp32, bf16, onnx, openvino):
    return {"torch fp32": fp32, "torch bf16": bf16, "onnx fp32": onnx, "openvino fp32": openvino}


@pytest.mark.parametrize(
    ("milliseconds", "dtype", "taken"),
    [
        (sides(10, 4, 6, 5), "auto", ("torch", "bf16")),
        (sides(10, 4, 6, 5), "fp32", ("openvino", "fp32")),
        (sides(10, 30, 6, 7), "auto", ("onnx", "fp32")),
        (sides(10, 30, 9.5, 9.4), "auto", ("torch", "fp32")),  # not clearly faster
    ],
)
def test_the_clearly_fastest_that_was_asked_for_is_taken(measured, milliseconds, dtype, taken):
    measured(milliseconds)
    assert pick_backend("auto", dtype, CPU) == taken


def test_it_is_measured_once(measured):
    ran = measured(sides(10, 30, 6, 7))
    assert pick_backend("auto", "auto", CPU) == ("onnx", "fp32") and ran
    ran = measured(sides(10, 4, 6, 7))
    assert pick_backend("auto", "auto", CPU) == ("onnx", "fp32") and not ran


def test_what_is_named_is_taken_unmeasured(measured):
    ran = measured(sides(10, 4, 6, 5))
    assert pick_backend("torch", "auto", CPU) == ("torch", "auto")
    assert pick_backend("auto", "int8", CPU) == ("openvino", "int8")
    assert pick_backend("auto", "bf16", CPU) == ("torch", "bf16")
    assert pick_backend("auto", "auto", torch.device("cuda")) == ("torch", "auto")
    assert not ran


def test_all_sides_compute_the_same(tmp_path):
    found = {name: run() for name, run in fastest._runs(fastest.sides(int8=True), tmp_path, Shape(64, 4, 128)).items()}
    expected = found["torch fp32"].numpy()
    assert expected.std() > 0.1
    np.testing.assert_allclose(found["onnx fp32"][0], expected, atol=1e-4)
    np.testing.assert_allclose(found["openvino fp32"][0], expected, atol=1e-4)
    assert 0 < np.linalg.norm(found["openvino int8"][0] - expected) < 0.1 * np.linalg.norm(expected)
    np.testing.assert_allclose(found["torch bf16"].float().numpy(), expected, atol=0.1)


def test_what_another_backend_would_bring_is_measured_once_and_said(measured, tiny_trunk_dir):
    trunk = load_trunk(tiny_trunk_dir, dtype="fp32", device="cpu")
    assert speeds(trunk, measure=False) == {}
    ran = measured({**sides(10, 30, 9.5, 8), "openvino int8": 2.5})
    found = {"torch fp32": 1.0, "torch bf16": 0.33, "onnx fp32": 1.05, "openvino fp32": 1.25, "openvino int8": 4.0}
    assert speeds(trunk) == found and ran
    ran.clear()
    assert speeds(trunk, measure=False) == speeds(trunk) == found and not ran
    compiled, int8 = advice(trunk, found)
    assert "compiled by openvino in fp32 the trunk would run 1.2 times as fast" in compiled
    assert "in int8 (openvino) the trunk would run 4.0 times as fast" in int8
    trunk.dtype = "bf16"
    assert advice(trunk, {**found, "torch bf16": 3.9}) == []


@pytest.mark.parametrize("name", ["bert", "distilbert", "bart", "t5", "gpt2", "llama", "modernbert", "albert"])
def test_the_shape_of_a_block_is_that_of_its_weights(tiny_trunk, name):
    trunk = tiny_trunk(name)
    shape, sizes = shape_of(trunk), {p.shape for p in trunk.taps.blocks[0].parameters()}
    assert shape.width == trunk.hidden_size
    assert shape.width % shape.heads == 0
    assert any(shape.inner in size or 2 * shape.inner in size for size in sizes)
