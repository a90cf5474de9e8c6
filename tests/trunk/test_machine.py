from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from trunkline.errors import BadInput
from trunkline.files import cache_dir
from trunkline.trunk import machine
from trunkline.trunk.machine import onto, pick_device, pick_dtype, widest

CPU = torch.device("cpu")


def timings(monkeypatch, fp32, bf16):
    asked = []

    def seconds(dtype, device):
        asked.append(dtype)
        return {torch.float32: fp32, torch.bfloat16: bf16}[dtype]

    monkeypatch.setattr(machine, "_block_seconds", seconds)
    return asked


@pytest.mark.parametrize(
    ("fp32", "bf16", "faster"), [(1.0, 0.4, "bf16"), (1.0, 3.0, "fp32"), (1.0, 0.95, "fp32"), (1.0, 1.0, "fp32")]
)
def test_the_clearly_faster_is_taken(monkeypatch, fp32, bf16, faster):
    timings(monkeypatch, fp32, bf16)
    assert pick_dtype("auto", CPU) == faster


def test_it_is_measured_once_per_machine_and_torch(monkeypatch):
    asked = timings(monkeypatch, 1.0, 0.4)
    assert pick_dtype("auto", CPU) == "bf16" and asked
    (known,) = json.loads((cache_dir() / "machine.json").read_text()).items()
    assert torch.__version__ in known[0] and known[1] == {"dtype": "bf16", "milliseconds": {"fp32": 1000.0, "bf16": 400.0}}
    asked = timings(monkeypatch, 0.4, 1.0)
    assert pick_dtype("auto", CPU) == "bf16" and not asked
    monkeypatch.setattr(machine, "_processor", lambda: "another machine, same home directory")
    assert pick_dtype("auto", CPU) == "fp32" and asked
    assert len(json.loads((cache_dir() / "machine.json").read_text())) == 2


def test_a_gpu_of_the_processor_is_measured_for_itself(monkeypatch):
    timings(monkeypatch, 1.0, 0.4)
    assert pick_dtype("auto", CPU) == "bf16"
    timings(monkeypatch, 0.4, 1.0)
    assert pick_dtype("auto", torch.device("mps")) == "fp32" and pick_dtype("auto", CPU) == "bf16"


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"x": 1}', "\x00"])
def test_a_spoilt_cache_is_measured_anew(monkeypatch, content):
    timings(monkeypatch, 1.0, 0.4)
    cache_dir().mkdir(parents=True, exist_ok=True)
    (cache_dir() / "machine.json").write_text(content)
    assert pick_dtype("auto", CPU) == "bf16"
    assert any(v == {"dtype": "bf16", "milliseconds": {"fp32": 1000.0, "bf16": 400.0}} for v in machine.remembered(
        cache_dir() / "machine.json").values())  # fmt: skip


def test_a_cache_that_cannot_be_written_does_no_harm(monkeypatch, tmp_path):
    timings(monkeypatch, 1.0, 0.4)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRUNKLINE_CACHE", str(tmp_path / "file" / "below"))
    assert pick_dtype("auto", CPU) == "bf16"


def test_the_real_measurement_takes_time_in_both():
    assert pick_dtype("auto", CPU) in ("fp32", "bf16")
    (entry,) = json.loads((cache_dir() / "machine.json").read_text()).values()
    assert all(0 < entry["milliseconds"][name] < 60_000 for name in ("fp32", "bf16"))
    clearly = entry["milliseconds"]["bf16"] * 1.1 < entry["milliseconds"]["fp32"]
    assert entry["dtype"] == ("bf16" if clearly else "fp32")


def test_devices():
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert pick_device("cpu") == pick_device(CPU) == CPU
    with pytest.raises(BadInput, match="device: unknown name 'gpu'"):
        pick_device("gpu")


def test_where_there_is_no_fp64_arrays_are_fp32(monkeypatch):
    halves = np.array([0.5, 1.5])
    assert onto(halves, CPU).dtype == torch.float64 and onto(np.array([1]), CPU).dtype == torch.int64
    monkeypatch.setattr(machine, "widest", lambda device: widest(torch.device("mps")))
    assert onto(halves, CPU).dtype == torch.float32 and onto(halves, CPU).tolist() == [0.5, 1.5]
