"""A process of a launch that is killed, or fails by itself, ends the others with a sentence, and the run resumes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from launching import free_port, launch, start
from synthetic import config, write_rows

from trunkline.errors import TrunklineError
from trunkline.training import resumable
from trunkline.training.agreement import LostProcess
from trunkline.training.fit import fit
from trunkline.training.loop import Loop

SENTENCE = "another process of this launch has ended or cannot be reached, so this one ends too; rerun the same command"
LOST, FAILED = 3, 4


def slow_down(failing: bool = False) -> None:
    """A checkpoint after every step, and time for a kill between them. `failing`: the process that is not the main one fails in
    the sixth."""
    resumable.CHECKPOINT_SECONDS = 0
    step = Loop._step

    def slowly(self, progress: float) -> None:
        if self.position.step == 5 and failing and os.environ["RANK"] == "1":
            raise TrunklineError("a process of its own failed")
        time.sleep(0.05)
        step(self, progress)

    Loop._step = slowly


def train(values: dict, run: str, stopped: bool) -> None:
    slow_down(failing=stopped)
    try:
        fit(values, run_dir=run, progress=False)
    except TrunklineError as error:
        print(error, file=sys.stderr, flush=True)
        os._exit(LOST if isinstance(error, LostProcess) else FAILED)


def outcome(run: Path) -> tuple[dict[str, bytes], list]:
    """Bytes of all branches and the history of evaluations."""
    weights = {path.parent.name: path.read_bytes() for path in (run / "branches").glob("*/weights.safetensors")}
    return weights, json.loads((run / "result.json").read_text())["history"]


def wait_for_step(run: Path, step: int, left) -> None:
    """Return when a checkpoint of this step or a later one is there."""
    while left():
        try:
            if json.loads((run / "checkpoint" / "state.json").read_text())["position"]["step"] >= step:
                return
        except (FileNotFoundError, json.JSONDecodeError):
            pass
        time.sleep(0.01)
    pytest.fail("the launch has ended before that step")


@pytest.fixture
def values(tiny_trunk_dir, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 150)
    made = config(tiny_trunk_dir, rows, epochs=3, batch_tokens=128, regime="joint")
    return {**made, "method": {"name": "lora", "r": 4}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lost", "divided"), [(0, False), (1, False), ("failed", False), (0, True), (1, True), ("failed", True)]
)
def test_a_lost_process_ends_the_other_and_the_run_resumes_to_the_same_bits(lost, divided, processes, values, tmp_path):
    values["training"] |= {"shard": divided}
    launch(processes, values, tmp_path / "whole", work=train)
    run = tmp_path / "run"
    both = start(processes, values, run, stopped=lost == "failed", work=train)
    if lost != "failed":
        wait_for_step(run, 4, lambda: all(one.exitcode is None for one in both))
        both[lost].kill()
    for process in both:
        process.join(60)  # gloo's own timeout is half an hour
    ended = 1 if lost == "failed" else lost
    assert both[ended].exitcode == (FAILED if lost == "failed" else -signal.SIGKILL)
    assert both[1 - ended].exitcode == LOST
    said = Path(f"{run}.{1 - ended}.err").read_text()
    assert SENTENCE in said and "Traceback" not in said
    step = json.loads((run / "checkpoint" / "state.json").read_text())["position"]["step"]
    assert step >= 4 and not (run / "result.json").exists()
    launch(processes, values, run, work=train)
    assert outcome(run) == outcome(tmp_path / "whole")
    assert not (run / "checkpoint").exists()


SCRIPT = """
import os, sys
sys.argv[0] = "trunkline"
open(f"{os.environ['RANK']}.pid", "w").write(str(os.getpid()))
err = open(f"{os.environ['RANK']}.err", "w")
os.dup2(err.fileno(), 2)
import test_lost_processes
from trunkline.cli import app
test_lost_processes.slow_down()
app()
"""


@pytest.mark.slow
def test_torchrun_ends_soon_after_a_kill_and_the_same_command_resumes(values, tmp_path):
    """The command itself; torchrun tells the process that is left to end, by SIGTERM, in the same moment."""
    (tmp_path / "config.yaml").write_text(json.dumps(values))
    (tmp_path / "slow.py").write_text(SCRIPT)
    path = os.pathsep.join([os.environ.get("PYTHONPATH", ""), *sys.path])
    more = {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-addr=127.0.0.1"]
    command += [f"--master-port={free_port()}", "slow.py", "fit", "config.yaml", "--run-dir", "run"]
    options = {"cwd": tmp_path, "env": {**os.environ, **more}, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **options) as launched:
        wait_for_step(tmp_path / "run", 4, lambda: launched.poll() is None)
        os.kill(int((tmp_path / "1.pid").read_text()), signal.SIGKILL)
        launched.communicate(timeout=60)
    assert launched.returncode != 0
    said = (tmp_path / "0.err").read_text()
    assert f"trunkline: {SENTENCE}" in said and "Traceback" not in said
    assert (tmp_path / "run" / "checkpoint").exists()
    done = subprocess.run(command, timeout=300, **options)
    assert done.returncode == 0, (tmp_path / "0.err").read_text()
    assert (tmp_path / "run" / "result.json").exists()
