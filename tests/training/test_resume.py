"""Kill it anywhere, run it again: the end is the same to the bit. The runs are real processes, killed by SIGKILL."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file
from synthetic import config, write_rows

SCRIPT = """
import json, sys
from trunkline.training.fit import fit
from trunkline.errors import TrunklineError
from trunkline.events import EpochEnded, Evaluated, Resumed, StatesProgress
def say(event):
    if isinstance(event, (EpochEnded, Evaluated, Resumed, StatesProgress)):
        print(type(event).__name__, flush=True)
try:
    fit(json.loads(sys.argv[1]), run_dir=sys.argv[2], subscribers=[say])
except TrunklineError as error:
    print(error, flush=True)
    sys.exit(1)
"""


def start(values: dict, run: Path, cache: Path) -> subprocess.Popen:
    environment = {**os.environ, "TRUNKLINE_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT, json.dumps(values), str(run)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(values: dict, run: Path, cache: Path) -> list[str]:
    process = start(values, run, cache)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out.split()


def outcome(run: Path) -> tuple[dict, dict]:
    """Bytes of all branches and the history of evaluations."""
    weights = {path.parent.name: path.read_bytes() for path in (run / "branches").glob("*/weights.safetensors")}
    return weights, json.loads((run / "result.json").read_text())["history"]


def kill_at_random(values, tmp_path, kills: int, seed: int) -> None:
    draw = random.Random(seed)
    began = time.monotonic()
    finish(values, tmp_path / "whole", tmp_path / "cache-whole")
    duration = time.monotonic() - began
    expected = outcome(tmp_path / "whole")
    run, cache = tmp_path / "killed", tmp_path / "cache-killed"
    killed = 0
    for _ in range(kills):
        process = start(values, run, cache)
        try:
            # Half of the kills early (data, store), half at any moment of the rest; the first where it cannot be over yet.
            share = draw.uniform(0.3, 1.0) if draw.random() < 0.8 else draw.uniform(0, 1.0)
            process.wait(timeout=duration * (share if killed else share / 2))
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
    assert killed > 0
    finish(values, run, cache)
    assert outcome(run) == expected


@pytest.fixture
def values(tiny_trunk_dir, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 600)
    return config(tiny_trunk_dir, rows, epochs=40, evaluate_every=7, learning_rate=0.003)


def test_killed_and_resumed_ends_with_the_same_bits(values, tmp_path):
    kill_at_random(values, tmp_path, kills=3, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["one_cycle", "plateau"])
@pytest.mark.parametrize("seed", range(3))
def test_killed_many_times_and_resumed_ends_with_the_same_bits(values, tmp_path, schedule, seed):
    values["training"] |= {"schedule": schedule, "plateau_patience": 2, "accumulation": 2}
    kill_at_random(values, tmp_path, kills=12, seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize("regime", ["separate", "joint", "sequential", "fusion"])
def test_killed_while_a_trunk_is_changed_and_resumed_ends_with_the_same_bits(values, tmp_path, regime):
    values["training"] |= {"regime": regime, "epochs": 8}
    values["method"] = {"name": "adapter", "reduction": 4}
    kill_at_random(values, tmp_path, kills=6, seed=1)


def test_what_a_kill_left_half_written_is_no_branch_and_is_cleared_away(values, tmp_path):
    from trunkline.model.folders import branch_folders
    from trunkline.training.fit import fit

    values["training"]["epochs"] = 1
    run = tmp_path / "run"
    branches = fit(values, run_dir=run).branches
    for name, mark in zip(branches, ("k3_2abcd", "trunkline-0123abcd"), strict=True):  # of an earlier version, and of this one
        shutil.copytree(run / "branches" / name, left := run / "branches" / f".{name}.{mark}.tmp")
        (left / "weights.safetensors").unlink()
    (run / "checkpoint").mkdir()
    assert branch_folders(run) == sorted(branches.values())
    fit(values, run_dir=run)
    assert {path.name for path in (run / "branches").iterdir()} == set(branches) and not (run / "checkpoint").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_go_on(values, tmp_path, number):
    process = start(values, tmp_path / "run", tmp_path / "cache")
    for line in process.stdout:
        if line.strip() == "Evaluated":
            break
    process.send_signal(number)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "the same command goes on" in out
    assert (tmp_path / "run" / "checkpoint" / "tensors.safetensors").exists()
    words = finish(values, tmp_path / "run", tmp_path / "cache")
    assert "Resumed" in words
    finish(values, tmp_path / "whole", tmp_path / "cache-whole")
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


def test_two_processes_do_not_train_one_run(values, tmp_path):
    values["training"]["epochs"] = 100_000  # it is still at it when the second comes, however slow the machine
    first = start(values, tmp_path / "run", tmp_path / "cache")
    for line in first.stdout:
        if line.strip() == "Evaluated":
            break
    second = start(values, tmp_path / "run", tmp_path / "cache")
    out, _ = second.communicate(timeout=120)
    first.kill()
    first.communicate()
    assert second.returncode == 1 and "another process is training this run" in out


def test_a_checkpoint_of_other_data_is_refused(values, tmp_path, tiny_trunk_dir):
    from trunkline.errors import BadInput
    from trunkline.events import EpochEnded
    from trunkline.training.fit import fit

    class Stop(BaseException):
        pass

    def stop(event):
        if isinstance(event, EpochEnded):
            raise Stop

    values["training"]["evaluate_every"] = 1
    with pytest.raises(Stop):
        fit(values, run_dir=tmp_path / "run", subscribers=[stop])
    state = json.loads((tmp_path / "run" / "checkpoint" / "state.json").read_text())
    assert load_file(tmp_path / "run" / "checkpoint" / "tensors.safetensors") and state["position"]["step"] > 0
    values["training"]["seed"] = 99
    with pytest.raises(BadInput, match="another config, other data or another trunk"):
        fit(values, run_dir=tmp_path / "run")
