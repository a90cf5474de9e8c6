"""The memory that is estimated of units: what each needs, in a process in which all others have left something behind."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
from test_study_estimate import pace_of, planned

from trunkline import allocator
from trunkline.studies.estimates import forecasting, probe
from trunkline.studies.estimates.pace import Forecast, kind_of
from trunkline.studies.study import Study
from trunkline.training.cost import held_memory, peak_memory


def test_what_units_leave_behind_is_part_of_the_memory_of_each(tmp_path, monkeypatch):
    study = Study(planned(study={"seeds": 1}), tmp_path / "study")
    held = iter([100, 150, 135, 135, 135])  # before each of three units, and once all were measured
    now = {"held": 0}

    def forget():
        now["held"] = next(held)

    monkeypatch.setattr(forecasting, "forget_peak", forget)
    monkeypatch.setattr(forecasting, "held_memory", lambda device: now["held"])
    monkeypatch.setattr(probe.Probe, "measure", lambda self, unit: pace_of(unit, memory=1000))
    forecast = Forecast(rows={"all": 1000})
    assert forecasting.measure(study, forecast)
    assert [forecast.paces[kind_of(unit)].memory for unit in forecasting.ahead(study)] == [1035, 1000]


def test_held_memory_is_at_most_the_peak_and_grows_with_what_is_held():
    device, before = torch.device("cpu"), held_memory(torch.device("cpu"))
    kept = np.ones(32_000_000)  # much more than what else comes and goes in the meantime
    assert 224e6 < held_memory(device) - before < 300e6 and held_memory(device) <= peak_memory(device)
    assert kept.any()


def test_a_unit_is_measured_on_its_largest_batch():
    def batch(*lengths):
        encoded = SimpleNamespace(lengths=np.array(lengths))
        source = SimpleNamespace(train=SimpleNamespace(encoded=encoded))
        return SimpleNamespace(source=source, sequences=np.arange(len(lengths)))

    first, wide, long = batch(3, 3), batch(4, 4, 4), batch(1, 1, 1, 1, 9)
    assert probe._first_and_largest([first, long, wide]) == [first, long]
    assert probe._first_and_largest([first]) == [first] and probe._first_and_largest([long, first, wide]) == [long, wide]


def test_few_kernels_are_kept_unless_the_environment_says_otherwise(monkeypatch):
    for name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "DNNL_PRIMITIVE_CACHE_CAPACITY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DNNL_PRIMITIVE_CACHE_CAPACITY", "7")
    allocator.keep_few_kernels()
    assert "ONEDNN_PRIMITIVE_CACHE_CAPACITY" not in allocator.os.environ
    monkeypatch.delenv("DNNL_PRIMITIVE_CACHE_CAPACITY")
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "")  # put back once the test is over
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY")
    allocator.keep_few_kernels()
    assert allocator.os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == str(allocator.KERNELS)
