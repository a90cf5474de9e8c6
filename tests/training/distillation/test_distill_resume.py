"""Kill it anywhere, run it again: the student is the same to the bit. What is killed, by SIGKILL, is a real process."""

from __future__ import annotations

import json
import os
import random
import signal
import time

import pytest
from resuming import count_resumed, note
from studenttools import values
from synthetic import write_rows

from trunkline.errors import BadInput, TrunklineError


def attempt(given, out, cache, told) -> None:
    """Distill in this process, started for it; what is noted goes to the file `told`, line by line."""
    import torch

    from trunkline.training.distillation.distilling import distill

    os.environ["TRUNKLINE_CACHE"] = str(cache)
    torch.set_num_threads(1)  # the last bits depend on it
    with told.open("w") as file:

        def tell(event) -> None:
            if noted := note(event):
                print(json.dumps(noted), file=file, flush=True)

        try:
            distill(given, out=out, progress=False, subscribers=[tell])
        except (TrunklineError, KeyboardInterrupt) as error:
            print(json.dumps(["error", str(error)]), file=file, flush=True)
            raise SystemExit(1) from None


class Attempt:
    def __init__(self, context, given, folder, name, number) -> None:
        self.told_in = folder / f"{name}-{number}.told"
        self.told_in.touch()
        arguments = (given, folder / name, folder / f"{name}-cache", self.told_in)
        self.process = context.Process(target=attempt, args=arguments, daemon=True)
        self.process.start()

    def told(self) -> list[tuple]:
        text = self.told_in.read_text()
        return [tuple(json.loads(line)) for line in text[: text.rfind("\n") + 1].splitlines()]

    def wait_for(self, what: str) -> None:
        end = time.monotonic() + 300
        while self.process.exitcode is None and not any(one[0] == what for one in self.told()):
            assert time.monotonic() < end
            time.sleep(0.01)

    def finish(self, code: int = 0) -> list[tuple]:
        self.process.join(300)
        assert self.process.exitcode == code, self.told()
        return self.told()


def student(folder) -> tuple:
    history = json.loads((folder / "result.json").read_text())["history"]
    return (folder / "model.safetensors").read_bytes(), history


@pytest.fixture
def given(tiny_trunk_dir, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 300)
    made = values(tiny_trunk_dir, rows, epochs=12, batch_tokens=128)
    made["student"] |= {"hidden_size": 16}
    return made


def kill_and_compare(processes, given, tmp_path, kills: int, seed: int) -> None:
    draw = random.Random(seed)
    began = time.monotonic()
    Attempt(processes, given, tmp_path, "whole", 0).finish()
    duration = time.monotonic() - began
    attempts, killed = [], 0
    for number in range(kills):
        one = Attempt(processes, given, tmp_path, "killed", number)
        if number % 2 == 0:  # at a batch soon after it has saved, so that there is something to resume
            one.wait_for("checkpoint")
            time.sleep(draw.uniform(0, 0.05) * duration)
        else:  # at any moment: while it reads, stores states or saves
            one.process.join(duration * draw.uniform(0, 1))
        one.process.kill()
        one.process.join()
        killed += one.process.exitcode == -signal.SIGKILL
        attempts.append(one.told())
    attempts.append(Attempt(processes, given, tmp_path, "killed", kills).finish())
    assert killed > 0 and count_resumed(attempts) > 0
    assert student(tmp_path / "killed") == student(tmp_path / "whole")
    assert not list((tmp_path / "killed").glob(".*.tmp"))


def test_killed_at_a_batch_and_resumed_ends_with_the_same_bits(processes, given, tmp_path):
    kill_and_compare(processes, given, tmp_path, kills=1, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_many_times_and_resumed_ends_with_the_same_bits(processes, given, tmp_path, seed):
    given["losses"]["relation"] = {}
    kill_and_compare(processes, given, tmp_path, kills=8, seed=seed)


def test_a_signal_saves_and_another_config_may_not_resume(processes, given, tmp_path):
    one = Attempt(processes, given, tmp_path, "student", 0)
    one.wait_for("batch")
    os.kill(one.process.pid, signal.SIGTERM)
    told = one.finish(1)
    assert told[-1][0] == "error" and "rerun the same command" in told[-1][1]
    assert (tmp_path / "student" / "checkpoint" / "tensors.safetensors").exists()
    from trunkline.training.distillation.distilling import distill

    with pytest.raises(BadInput, match="contains a student of another config"):
        distill(given, out=tmp_path / "student", overrides=["training.clip_norm=2"], progress=False)
