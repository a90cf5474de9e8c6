"""Two processes of one launch train what one process trains with gradients accumulated over two batches."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from synthetic import config, write_rows

from trunkline.errors import BadInput
from trunkline.training.fit import fit

# Processes measure times of their own: here one of them finds a checkpoint due after every step, the other does not.
SCRIPT = """
import json, os, sys
from trunkline.training import loop
from trunkline.training.fit import fit
loop.CHECKPOINT_SECONDS = 0 if os.environ["RANK"] == "1" else 1000
if len(sys.argv) > 3:
    loop.StopRequest.made = property(lambda self: True, lambda self, value: None)
try:
    fit(json.loads(sys.argv[1]), run_dir=sys.argv[2])
except loop.Interrupted as error:
    print(error)
"""


def launch(values, run, folder, *stopped, script=SCRIPT):
    """Two processes of one launch that train `values`; `stopped`: up to the first step."""
    text, script = script, folder / "launched.py"
    script.write_text(text)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = ["--master_addr=127.0.0.1", f"--master_port={free.getsockname()[1]}"]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", *address, str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [*command, json.dumps(values), str(run), *stopped], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert ("interrupted after step" in done.stdout) == bool(stopped)


@pytest.mark.parametrize("states", [{}, {"states_budget_gb": 1e-6}], ids=["stored", "too large to be stored"])
def test_two_processes_are_one_with_accumulated_batches(states, tiny_trunk_dir, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 150)
    values = config(tiny_trunk_dir, rows, epochs=2, schedule="constant", warmup=0.0, **states)
    values["method"]["dropout"] = 0.0
    launch(values, tmp_path / "two", tmp_path)
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


def test_a_run_of_two_processes_is_not_resumed_by_one(tiny_trunk_dir, tmp_path):
    """A step has a batch for each process, so one alone would read other batches than those that are left."""
    rows = write_rows(tmp_path / "rows.jsonl", 60)
    values = config(tiny_trunk_dir, rows, tasks=("mood",), epochs=2)
    launch(values, tmp_path / "run", tmp_path, "stopped")
    state = json.loads((tmp_path / "run" / "checkpoint" / "state.json").read_text())
    assert state["position"]["step"] == 1
    with pytest.raises(BadInput, match="made by 2 processes, found 1; start as many as before"):
        fit(values, run_dir=tmp_path / "run")
    launch(values, tmp_path / "run", tmp_path)
    assert not (tmp_path / "run" / "checkpoint").exists()


SLOW = """
import datetime, json, os, sys, time
from pathlib import Path
import torch
from trunkline.states import fill
from trunkline.training.fit import fit
from trunkline.trunk import machine
# No collective may take longer than the first store takes to be built, and each process measures another dtype as the faster.
begin = torch.distributed.init_process_group
torch.distributed.init_process_group = lambda *args, **options: begin(
    *args, **{**options, "timeout": datetime.timedelta(seconds=WAIT)}
)
faster = torch.bfloat16 if os.environ["RANK"] == "0" else torch.float32
machine._block_seconds = lambda dtype, device: 1.0 if dtype == faster else 2.0
filled = fill.fill_shard
def slowly(*args):
    log = Path(sys.argv[2]).with_suffix(".built")
    if not log.exists():
        time.sleep(WAIT * 1.5)
    with open(log, "a") as file:
        file.write(os.environ["RANK"])
    return filled(*args)
fill.fill_shard = slowly
fit(json.loads(sys.argv[1]), run_dir=sys.argv[2])
"""


def test_a_build_may_take_longer_than_a_collective_and_the_dtype_is_one(tiny_trunk_dir, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 60)
    values = config(tiny_trunk_dir, rows, tasks=("mood",), epochs=1)
    values["trunk"]["dtype"] = "auto"
    launch(values, tmp_path / "run", tmp_path, script=SLOW.replace("WAIT", "10"))
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["trunk"]["dtype"] == "bf16"  # what the main process found
    assert (tmp_path / "run.built").read_text() == "00"  # the stores of two splits
