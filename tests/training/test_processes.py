"""Two processes of one launch train what one process trains with gradients accumulated over two batches."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from launching import free_port, launch
from safetensors.torch import load_file
from synthetic import config, write_rows

from trunkline.errors import BadInput
from trunkline.states import fill
from trunkline.training import resumable
from trunkline.training.fit import fit
from trunkline.trunk import machine


def train(values: dict, run: str, stopped: bool) -> None:
    """Processes measure times of their own: here one of them finds a checkpoint due after every step, the other does not."""
    resumable.CHECKPOINT_SECONDS = 0 if os.environ["RANK"] == "1" else 1000
    if stopped:
        resumable.StopRequest.made = property(lambda self: True, lambda self, value: None)
    try:
        fit(values, run_dir=run)
    except resumable.Interrupted as error:
        assert stopped and "interrupted after step" in str(error)
    else:
        assert not stopped


WAIT = 4.0  # seconds


def build_slowly(values: dict, run: str, stopped: bool) -> None:
    """No collective may take longer than the first store is built, and each process measures another dtype as faster."""
    begin, filled, log = torch.distributed.init_process_group, fill.fill_shard, Path(run).with_suffix(".built")
    most = {"timeout": datetime.timedelta(seconds=WAIT)}
    torch.distributed.init_process_group = lambda *args, **options: begin(*args, **options | most)
    faster = torch.bfloat16 if os.environ["RANK"] == "0" else torch.float32
    machine._block_seconds = lambda dtype, device: 1.0 if dtype == faster else 2.0

    def slowly(*args):
        if not log.exists():
            time.sleep(WAIT * 1.5)
        with open(log, "a") as file:
            file.write(os.environ["RANK"])
        return filled(*args)

    fill.fill_shard = slowly
    fit(values, run_dir=run)


def launch_by_torchrun(processes, values: dict, run: Path, work=None) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_addr=127.0.0.1"]
    script = run.with_suffix(".py")
    script.write_text(
        "import json, sys\nfrom test_processes import train\ntrain(json.loads(sys.argv[1]), sys.argv[2], False)\n"
    )
    path = os.pathsep.join([os.environ.get("PYTHONPATH", ""), *sys.path])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": path}
    arguments = [f"--master_port={free_port()}", str(script), json.dumps(values), str(run)]
    done = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("states", "launch"),
    [
        pytest.param({}, launch, id="stored"),
        pytest.param({"states_budget_gb": 1e-6}, launch, id="too large to be stored"),
        pytest.param({}, launch_by_torchrun, id="by torchrun", marks=pytest.mark.slow),
    ],
)
def test_two_processes_are_one_with_accumulated_batches(states, launch, processes, tiny_trunk_dir, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 150)
    values = config(tiny_trunk_dir, rows, epochs=2, schedule="constant", warmup=0.0, **states)
    values["method"] |= {"dropout": 0.0, "initial": "variability"}
    launch(processes, values, tmp_path / "two", work=train)
    one = fit({**values, "training": {**values["training"], "accumulation": 2}}, run_dir=tmp_path / "one")
    two = json.loads((tmp_path / "two" / "result.json").read_text())
    assert [entry["step"] for entry in two["history"]] == [entry["step"] for entry in one.summary["history"]]
    for name, path in one.branches.items():
        left, right = (
            load_file(path / "weights.safetensors"),
            load_file(tmp_path / "two" / "branches" / name / "weights.safetensors"),
        )
        assert left.keys() == right.keys()
        for key in left:
            torch.testing.assert_close(left[key], right[key], rtol=1e-2, atol=1e-3)


def test_a_run_of_two_processes_is_not_resumed_by_one(processes, tiny_trunk_dir, tmp_path):
    """A step has a batch for each process, so one alone would read other batches than those that are left."""
    rows = write_rows(tmp_path / "rows.jsonl", 60)
    values = config(tiny_trunk_dir, rows, tasks=("mood",), epochs=2)
    launch(processes, values, tmp_path / "run", stopped=True, work=train)
    state = json.loads((tmp_path / "run" / "checkpoint" / "state.json").read_text())
    assert state["position"]["step"] == 1
    with pytest.raises(BadInput, match="made by 2 processes, found 1; start as many as before"):
        fit(values, run_dir=tmp_path / "run")
    launch(processes, values, tmp_path / "run", work=train)
    assert not (tmp_path / "run" / "checkpoint").exists()


@pytest.mark.slow
def test_a_build_may_take_longer_than_a_collective_and_the_dtype_is_one(processes, tiny_trunk_dir, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 60)
    values = config(tiny_trunk_dir, rows, tasks=("mood",), epochs=1)
    values["trunk"]["dtype"] = "auto"
    launch(processes, values, tmp_path / "run", work=build_slowly)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["trunk"]["dtype"] == "bf16"  # what the main process found
    assert (tmp_path / "run.built").read_text() == "00"  # the stores of two splits
