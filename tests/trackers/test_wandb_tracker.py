"""The tracker `wandb`, its offline files read back with W&B's own reader (`wandb leet inspect`)."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml
from trackedruns import bytes_below, evaluated, needs, of_test, tell, tracker

from trunkline.events import RunEnded
from trunkline.training.fit import fit

pytestmark = needs("wandb", "wandb")


@pytest.fixture(autouse=True)
def no_folders_of_the_user(tmp_path, monkeypatch):
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "user" / name))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "")  # so that it is put back to what it was
    monkeypatch.delenv("WANDB_ERROR_REPORTING")


def read(file):
    core = Path(importlib.util.find_spec("wandb").origin).parent / "bin" / "wandb-core"
    command = [core, "leet", "inspect", "-no-observability", "-json", "-run-file", file]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    return [json.loads(line) for line in said.splitlines()]


def records(folder):
    """What the reader finds in each offline run in `wandb/` of a folder, in order; the last of them has ended."""
    files = sorted((folder / "wandb").glob("offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime)
    began, last = time.monotonic(), read(files[-1])
    while (not last or last[-1]["type"] != "exit") and time.monotonic() - began < 60:
        time.sleep(0.1)  # W&B's own process writes the end of the file a moment after `finish` has returned
        last = read(files[-1])
    return [*map(read, files[:-1]), last]


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


def outcome(run):
    updates = [record["summary"]["update"] for record in run if record["type"] == "summary"]
    return next(update["outcome"] for update in updates if "outcome" in update)


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
    tell(tracker("wandb"), told.events)
    first, second = records(told.path)
    holds_all([first, second], told.summary)
    begun, again = (next(record["run"] for record in run if record["type"] == "run") for run in (first, second))
    assert begun["run_id"] == again["run_id"] and begun["project"] == "trunkline" and begun["display_name"] == "a-run"
    assert not {"host", "git", "settings"} & begun.keys()
    given = begun["config"]["update"]
    assert given["training.epochs"] == 3 and given["method.name"] == "adalayers" and given["data.validation"] == 0.2
    assert [run[-1]["exit"].get("exit_code", 0) for run in (first, second)] == [130, 0]
    assert [outcome(run) for run in (first, second)] == ["interrupted", "finished"]
    assert list(artefact(first)) == ["config.yaml"] and artefact(first).keys() < artefact(second).keys()
    files = artefact(second)
    assert yaml.safe_load(files["config.yaml"].read_text())["training"]["epochs"] == 3
    assert json.loads(files["result.json"].read_text())["tasks"] == told.summary["tasks"]
    assert files["branches/mood/weights.safetensors"] == told.path / "branches" / "mood" / "weights.safetensors"
    assert capsys.readouterr() == ("", "")
    stored = bytes_below(told.path / "wandb")
    assert not any(text.encode() in stored for text in told.texts()) and b"requirements.txt" not in stored
    assert os.environ["WANDB_ERROR_REPORTING"] == "false"


@pytest.mark.slow
def test_a_run_that_failed_under_a_name_in_another_folder(told, tmp_path):
    section = {"run": "by another name", "project": "moods", "folder": str(tmp_path / "mine")}
    tell(tracker("wandb", **section), [*told.until_epoch(1), RunEnded(told.path, "failed")])
    (run,) = records(tmp_path / "mine")
    begun = next(record["run"] for record in run if record["type"] == "run")
    assert (begun["display_name"], begun["project"]) == ("by another name", "moods") and not (told.path / "wandb").exists()
    assert run[-1]["exit"]["exit_code"] == 1 and outcome(run) == "failed"


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
    import wandb

    mine = wandb.init(mode="offline", project="mine", dir=tmp_path, settings=wandb.Settings(silent=True, console="off"))
    fit({**trained.values, "trackers": "wandb"}, run_dir=tmp_path / "run", progress=False)
    assert wandb.run is mine
    mine.log({"mine": 1})
    mine.finish()
    (found,) = records(tmp_path)
    assert [row["mine"] for row in rows(found)] == [1] and "epoch" not in rows(found)[0]
