"""The tracker `wandb`, its offline files read back with W&B's own reader (`wandb leet inspect`)."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml
from trackedruns import bytes_below, evaluated, of_test, tell, tracker

from trunkline.events import RunEnded
from trunkline.training.fit import fit

wandb = pytest.importorskip("wandb", reason="Weights & Biases is not installed: pip install 'trunkline[wandb]'")


@pytest.fixture(autouse=True)
def no_folders_of_the_user(tmp_path, monkeypatch):
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "user" / name))


def inspected(folder, *more):
    """What the reader says of each offline run in `wandb/` of a folder, in order."""
    core = Path(wandb.__file__).parent / "bin" / "wandb-core"
    found = []
    for file in sorted((folder / "wandb").glob("offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime):
        command = [core, "leet", "inspect", "-no-observability", "-json", *more, "-run-file", file]
        found.append(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)
    return found


def records(folder):
    return [[json.loads(line) for line in said.splitlines()] for said in inspected(folder)]


def rows(run):
    return [record["history"]["item"] for record in run if record["type"] == "history"]


def pairs(runs):
    """By name, the steps and values of several offline runs, one after the other."""
    found = {}
    for row in (row for run in runs for row in rows(run)):
        for name, value in row.items():
            found.setdefault(name, []).append((row["step"], value))
    return found


def artefact(run):
    (found,) = [record["artifact"] for record in run if record["type"] == "artifact"]
    return {one["path"]: Path(one["local_path"]) for one in found["manifest"]["contents"]}


def holds_all(runs, summary):
    found = pairs(runs)
    for name, expected in evaluated(summary).items():
        assert found[name] == list(expected.items())
    assert {name: found[name][0][1] for name in of_test(summary)} == of_test(summary)
    assert [row["_step"] for run in runs for row in rows(run)] == list(range(sum(len(rows(run)) for run in runs)))


def test_a_run_offline_that_was_interrupted_and_resumed(told, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_PROJECT", "another")
    tell(tracker("wandb"), told.interrupted())
    tell(tracker("wandb", run="by another name"), [*told.until_epoch(1), RunEnded(told.path, "failed")])
    tell(tracker("wandb"), told.events)
    first, other, second = records(told.path)
    holds_all([first, second], told.summary)
    begun = [next(record["run"] for record in run if record["type"] == "run") for run in (first, other, second)]
    assert [one["run_id"] for one in begun] == [begun[0]["run_id"], begun[1]["run_id"], begun[0]["run_id"]]
    assert begun[0]["project"] == "trunkline" and not {"host", "git", "settings"} & begun[0].keys()
    assert [one["display_name"] for one in begun] == ["a-run", "by another name", "a-run"]
    given = begun[0]["config"]["update"]
    assert given["training.epochs"] == 3 and given["method.name"] == "adalayers" and given["data.validation"] == 0.2
    assert [run[-1]["exit"]["exit_code"] for run in (first, other, second)] == [130, 1, 0]
    told_last = [json.loads(said)["summary"]["outcome"] for said in inspected(told.path, "-summary")]
    assert told_last == ["interrupted", "failed", "finished"]
    assert list(artefact(first)) == ["config.yaml"] and artefact(first).keys() < artefact(second).keys()
    files = artefact(second)
    assert yaml.safe_load(files["config.yaml"].read_text())["training"]["epochs"] == 3
    assert json.loads(files["result.json"].read_text())["tasks"] == told.summary["tasks"]
    assert files["branches/mood/weights.safetensors"] == told.path / "branches" / "mood" / "weights.safetensors"
    assert capsys.readouterr() == ("", "")
    stored = bytes_below(told.path / "wandb")
    assert not any(text.encode() in stored for text in told.texts()) and b"requirements.txt" not in stored
    assert os.environ["WANDB_ERROR_REPORTING"] == "false" and wandb.run is None


@pytest.fixture
def server():
    """The address of a server on loopback that answers nobody, and the addresses of those who have called."""
    callers = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def listen():
            while True:
                try:
                    connection, caller = listening.accept()
                except OSError:
                    return
                callers.append(caller)
                connection.close()

        threading.Thread(target=listen, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", callers
        listening.shutdown(socket.SHUT_RDWR)


SCRIPT = """
import json, os, signal, sys, time
from trunkline.events import EpochEnded
from trunkline.training.fit import fit

def kill(event):
    if isinstance(event, EpochEnded) and event.epoch == int(sys.argv[2]):
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)

fit(json.loads(sys.argv[1]), run_dir=sys.argv[3], subscribers=[kill], progress=False)
"""


def fitted(values, run, killed=0, **environment):
    """Train in a process of its own, in which nothing but what is given here is set of W&B."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_") or name.endswith("_DIR")}
    command = [sys.executable, "-c", SCRIPT, json.dumps(values), str(killed), str(run)]
    return subprocess.run(command, env=own | environment, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["offline", "online"])
def test_nobody_is_called_unless_the_config_says_so(trained, tmp_path, server, mode):
    address, callers = server
    values = {**trained.values, "trackers": "wandb" if mode == "offline" else [{"name": "wandb", "mode": mode}]}
    everywhere = {"WANDB_BASE_URL": address, "HTTP_PROXY": address, "HTTPS_PROXY": address, "NO_PROXY": ""}
    mine = {"WANDB_MODE": "online", "WANDB_API_KEY": "0" * 40, "WANDB_INIT_TIMEOUT": "5"}
    done = fitted(values, tmp_path / "run", **everywhere, **mine)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "result.json").read_text())["tasks"].keys() == {"mood", "cities"}
    if mode == "offline":
        assert callers == [] and done.stderr == ""
        holds_all(records(tmp_path / "run"), json.loads((tmp_path / "run" / "result.json").read_text()))
    else:
        assert callers and "WandB failed at RunStarted" in done.stderr


@pytest.mark.slow
def test_a_run_whose_process_was_killed_is_continued(trained, tmp_path):
    values = {**trained.values, "trackers": "wandb"}
    assert fitted(values, tmp_path / "run", killed=2).returncode == -signal.SIGKILL
    assert not (tmp_path / "run" / "result.json").exists()
    assert fitted(values, tmp_path / "run").returncode == 0
    runs = records(tmp_path / "run")
    assert len(runs) == 2
    holds_all(runs, json.loads((tmp_path / "run" / "result.json").read_text()))


@pytest.mark.slow
def test_a_run_that_the_program_has_opened_itself_is_not_touched(trained, tmp_path):
    mine = wandb.init(mode="offline", project="mine", dir=tmp_path, settings=wandb.Settings(silent=True, console="off"))
    fit({**trained.values, "trackers": "wandb"}, run_dir=tmp_path / "run", progress=False)
    assert wandb.run is mine
    mine.log({"mine": 1})
    mine.finish()
    (found,) = records(tmp_path)
    assert [row["mine"] for row in rows(found)] == [1] and "epoch" not in rows(found)[0]
