"""What a run's last bits depend on beyond its identity: noted in its checkpoint, and compared when it is resumed."""

from __future__ import annotations

import json
import subprocess
import sys

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file
from synthetic import config, write_rows

from trunkline.errors import BadInput
from trunkline.events import AlreadyFinished, Evaluated, Finding, Preparing, StageStarted
from trunkline.saved import SHA256, save_weights
from trunkline.training.cost import forget_peak, peak_memory
from trunkline.training.environment import changes
from trunkline.training.fit import fit
from trunkline.trunk.machine import described


class Stopped(BaseException):
    pass


@pytest.fixture
def values(tiny_trunk_dir, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 60)
    return config(tiny_trunk_dir, rows, tasks=("mood",), epochs=2, evaluate_every=1)


@pytest.fixture
def threads(monkeypatch):
    """Sets what torch says of its threads: as many would only take turns on the cores that other tests run on."""
    return lambda number: monkeypatch.setattr(torch, "get_num_threads", lambda: number)


def stopped(values, run, kind=Evaluated):
    def stop(event):
        if isinstance(event, kind) and (kind is StageStarted or list(run.glob("checkpoint/**/state.json"))):
            stop.count += 1
            if stop.count == 2:
                raise Stopped

    stop.count = 0
    with pytest.raises(Stopped):
        fit(values, run_dir=run, subscribers=[stop])


def resumed(values, run):
    """The findings of going on, without those about the data."""
    told = []
    fit(values, run_dir=run, subscribers=[told.append])
    return [event.text for event in told if isinstance(event, Finding) and event.text.startswith("started with")]


def test_the_environment_is_in_the_checkpoint_and_in_the_result(values, tmp_path, threads):
    threads(2)
    stopped(values, tmp_path / "run")
    state = json.loads((tmp_path / "run" / "checkpoint" / "state.json").read_text())
    noted = state["position"]["environment"]
    assert (noted["processes"], noted["threads"], noted["device"], noted["torch"]) == (1, 2, "cpu", torch.__version__)
    assert resumed(values, tmp_path / "run") == []
    del noted["states"], noted["stores"]  # where each split was read from, which a finished run need not know
    assert json.loads((tmp_path / "run" / "result.json").read_text())["environment"] == noted


def test_the_hardware_is_what_the_system_says(values, tmp_path):
    machine = fit(values, run_dir=tmp_path / "run").summary["environment"]["machine"]
    assert machine["processor"] in subprocess.run(["lscpu"], capture_output=True, text=True, check=True).stdout
    assert machine["cores"] == len(psutil.Process().cpu_affinity())
    assert machine["memory_bytes"] == psutil.virtual_memory().total
    assert "gpu" not in machine  # as the run is on the processor


def test_a_gpu_is_described_by_its_name_and_memory(monkeypatch):
    class Gpu:
        name, total_memory = "NVIDIA H200", 150_000_000_000

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Gpu)
    found = described(torch.device("cuda", 0))
    assert found["gpu"] == "NVIDIA H200" and found["gpu_memory_bytes"] == 150_000_000_000


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak can be reset on Linux alone")
def test_peak_memory_is_of_what_comes_after_it_was_measured_anew():
    cpu, size = torch.device("cpu"), 200_000_000
    held = torch.ones(size, dtype=torch.uint8)
    assert peak_memory(cpu) >= psutil.Process().memory_info().rss - 20_000_000
    before = peak_memory(cpu)
    del held
    forget_peak()
    assert peak_memory(cpu) < before - 0.9 * size
    low, held = peak_memory(cpu), torch.ones(size, dtype=torch.uint8)
    del held
    assert peak_memory(cpu) > low + 0.9 * size


def test_another_number_of_threads_is_said(values, tmp_path, threads):
    threads(1)
    stopped(values, tmp_path / "run")
    threads(2)
    [said] = resumed(values, tmp_path / "run")
    assert "threads 1, now 2" in said and "rounding" in said


def test_another_number_of_threads_is_said_after_a_finished_stage(values, tmp_path, threads, tiny_trunk_dir):
    rows = tmp_path / "rows.jsonl"
    values = {**config(tiny_trunk_dir, rows, epochs=1), "method": {"name": "bitfit"}}
    threads(1)
    stopped(values, tmp_path / "run", StageStarted)
    threads(2)
    [said] = resumed(values, tmp_path / "run")
    assert "threads 1, now 2" in said


@pytest.mark.parametrize(("made_by", "found"), [(2, "by 2 processes, found 1"), (None, None)])
def test_another_number_of_processes_is_refused(values, tmp_path, made_by, found):
    run = tmp_path / "run"
    stopped(values, run)
    folder = run / "checkpoint"
    state = {key: value for key, value in json.loads((folder / "state.json").read_text()).items() if key != SHA256}
    tensors = load_file(folder / "tensors.safetensors")
    if made_by is None:  # as version 0.1 wrote it
        del state["position"]["environment"]
        state["version"] = 1
        save_file(tensors, folder / "tensors.safetensors")
    else:
        state["position"]["environment"]["processes"] = made_by
        state[SHA256] = save_weights(folder / "tensors.safetensors", tensors, state)
    (folder / "state.json").write_text(json.dumps(state))
    if found is None:
        assert resumed(values, run) == []
    else:
        with pytest.raises(BadInput, match=found):
            fit(values, run_dir=run)


def test_the_device_is_no_part_of_the_identity(values, tmp_path):
    first = fit(values, run_dir=tmp_path / "run")
    told = []
    values["trunk"]["device"] = "auto"
    if torch.cuda.is_available():
        pytest.skip("auto is another device here")
    again = fit(values, run_dir=tmp_path / "run", subscribers=[told.append])
    told = [event for event in told if not isinstance(event, Preparing)]
    assert told == [AlreadyFinished(tmp_path / "run")] and again.summary == first.summary


def test_changes_are_one_sentence():
    now = {"processes": 1, "threads": 4, "device": "cpu", "instructions": "AVX2", "torch": "2"}
    assert changes(now, now) is None and changes({}, now, processes=True) is None
    assert "threads 2, now 4; device cuda, now cpu" in changes({**now, "threads": 2, "device": "cuda"}, now)
    assert changes({**now, "processes": 2}, now) is None
    assert "processes 2, now 1" in changes({**now, "processes": 2}, now, processes=True)
