"""Kill it anywhere, run it again: the end is the same to the bit. The runs are real processes, killed by SIGKILL."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest
import torch
from resuming import attempt, count_resumed
from safetensors.torch import load_file
from synthetic import config, write_rows


class Attempt:
    """A process that fits `values`, and what it has told."""

    def __init__(self, context, values: dict, run: Path, cache: Path) -> None:
        self._folder = Path(tempfile.mkdtemp(dir=run.parent))
        (self._folder / "out").touch()
        self.process = context.Process(target=attempt, args=(values, run, cache, self._folder), daemon=True)
        self.process.start()

    def told(self) -> list[tuple]:
        text = (self._folder / "out").read_text()
        return [tuple(json.loads(line)) for line in text[: text.rfind("\n") + 1].splitlines()]

    def wait_for(self, what: str) -> None:
        """Return when `what` has been told, or the process has ended."""
        end = time.monotonic() + 300
        while self.process.exitcode is None and not any(one[0] == what for one in self.told()):
            assert time.monotonic() < end
            time.sleep(0.01)

    def kill(self) -> bool:
        """Whether there was something left to kill."""
        self.process.kill()
        self.process.join()
        return self.process.exitcode == -signal.SIGKILL

    def finish(self, code: int = 0) -> list[tuple]:
        self.process.join(300)
        assert self.process.exitcode == code, (self._folder / "err").read_text()
        return self.told()


def outcome(run: Path) -> tuple[dict, dict]:
    """Bytes of all branches and the history of evaluations."""
    weights = {path.parent.name: path.read_bytes() for path in (run / "branches").glob("*/weights.safetensors")}
    return weights, json.loads((run / "result.json").read_text())["history"]


def kill_at_random(processes, values, tmp_path, kills: int, seed: int) -> None:
    draw = random.Random(seed)
    began = time.monotonic()
    Attempt(processes, values, tmp_path / "whole", tmp_path / "cache-whole").finish()
    duration = time.monotonic() - began
    expected = outcome(tmp_path / "whole")
    run, cache = tmp_path / "killed", tmp_path / "cache-killed"
    attempts, killed = [], 0
    for number in range(kills):
        one = Attempt(processes, values, run, cache)
        if number % 2 == 0:  # soon after it has saved, so that there is something to resume
            one.wait_for("checkpoint")
            time.sleep(draw.uniform(0, 0.05) * duration)
        else:  # at any moment: while it reads, stores states or saves
            one.process.join(duration * draw.uniform(0, 1))
        killed += one.kill()
        attempts.append(one.told())
    attempts.append(Attempt(processes, values, run, cache).finish())
    assert killed > 0 and count_resumed(attempts) > 0
    assert outcome(run) == expected


@pytest.fixture
def values(tiny_trunk_dir, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 600)
    return config(tiny_trunk_dir, rows, epochs=10, evaluate_every=7, learning_rate=0.003)


@pytest.fixture
def one_thread():
    """As the processes have, whatever `OMP_NUM_THREADS` is here: the last bits depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_killed_and_resumed_ends_with_the_same_bits(processes, values, tmp_path):
    kill_at_random(processes, values, tmp_path, kills=3, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["one_cycle", "plateau"])
@pytest.mark.parametrize("seed", range(3))
def test_killed_many_times_and_resumed_ends_with_the_same_bits(processes, values, tmp_path, schedule, seed):
    values["training"] |= {"schedule": schedule, "plateau_patience": 2, "accumulation": 2}
    kill_at_random(processes, values, tmp_path, kills=12, seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize("regime", ["separate", "joint", "sequential", "fusion"])
def test_killed_while_a_trunk_is_changed_and_resumed_ends_with_the_same_bits(processes, values, tmp_path, regime):
    values["training"] |= {"regime": regime, "epochs": 8}
    values["method"] = {"name": "adapter", "reduction": 4}
    kill_at_random(processes, values, tmp_path, kills=6, seed=1)


def test_what_a_kill_left_half_written_is_no_branch_and_what_is_marked_is_cleared_away(values, tmp_path):
    from trunkline.model.folders import branch_folders
    from trunkline.training.fit import fit

    values["training"]["epochs"] = 1
    run = tmp_path / "run"
    branches = fit(values, run_dir=run).branches
    for name, mark in zip(branches, ("k3_2abcd", "trunkline-0123abcd"), strict=True):  # of an earlier version, and of this one
        shutil.copytree(run / "branches" / name, left := run / "branches" / f".{name}.{mark}.tmp")
        (left / "weights.safetensors").unlink()
    (run / "checkpoint").mkdir()
    assert branch_folders(run) == list(branches.values())
    fit(values, run_dir=run)
    unmarked = f".{next(iter(branches))}.k3_2abcd.tmp"  # which may be the user's, so it stays, and is no branch
    assert {path.name for path in (run / "branches").iterdir()} == {*branches, unmarked}
    assert not (run / "checkpoint").exists() and branch_folders(run) == list(branches.values())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_go_on(processes, values, tmp_path, number, one_thread):
    from trunkline.training.fit import fit

    values["training"]["epochs"] = 6
    one = Attempt(processes, values, tmp_path / "run", tmp_path / "cache")
    one.wait_for("checkpoint")
    os.kill(one.process.pid, number)
    told = one.finish(1)
    assert told[-1][0] == "error" and "rerun the same command" in told[-1][1]
    assert (tmp_path / "run" / "checkpoint" / "tensors.safetensors").exists()
    assert count_resumed([told[:-1], Attempt(processes, values, tmp_path / "run", tmp_path / "cache").finish()]) == 1
    fit(values, run_dir=tmp_path / "whole")  # here, as another process would only import the same again
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


def test_two_processes_do_not_train_one_run(processes, values, tmp_path):
    values["training"]["epochs"] = 100_000  # it is still at it when the second comes, however slow the machine
    first = Attempt(processes, values, tmp_path / "run", tmp_path / "cache")
    first.wait_for("batch")
    [(_, said)] = Attempt(processes, values, tmp_path / "run", tmp_path / "cache").finish(1)
    assert first.kill() and "another process is training this run" in said


def test_a_checkpoint_of_other_data_is_refused(values, tmp_path, tiny_trunk_dir):
    from trunkline.errors import BadInput
    from trunkline.events import EpochEnded
    from trunkline.training.checkpoint import load_checkpoint
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
    with pytest.raises(BadInput, match="the checkpoint belongs to another config"):  # whoever reads it
        load_checkpoint(tmp_path / "run" / "checkpoint", "another", {})
    assert load_checkpoint(tmp_path / "run" / "checkpoint", state["identity"], {}) is not None


@pytest.mark.slow
def test_a_run_may_be_resumed_with_gradient_checkpointing(tmp_path, tiny_trunk_dir, monkeypatch, one_thread):
    """It is how the result is computed, and the result is the same to the bit, dropout included."""
    from trunkline.training import resumable
    from trunkline.training.fit import fit

    made = config(tiny_trunk_dir, write_rows(tmp_path / "rows.jsonl", 60), tasks=("mood",), epochs=2)
    made["method"] = {"name": "full"}
    recomputed = {**made, "training": {**made["training"], "gradient_checkpointing": True}}
    fit(made, run_dir=tmp_path / "whole", progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(resumable.StopRequest, "made", property(lambda self: True, lambda self, value: None), raising=False)
        with pytest.raises(resumable.Interrupted):
            fit(made, run_dir=tmp_path / "run", progress=False)
    fit(recomputed, run_dir=tmp_path / "run", progress=False)
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")
