"""Processes that share a sweep on a real PostgreSQL server, whose password is seen nowhere."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg
import pytest
import yaml
from sweeptools import Ended, planned, values

from trunkline.errors import BadInput
from trunkline.events import BatchEnded, quiet
from trunkline.studies.sweep import storage, trials
from trunkline.studies.sweep.search import Sweep

PASSWORD = "ge:heim/1@x"
QUOTED = "ge%3Aheim%2F1%40x"


def programs() -> Path | None:
    """The folder of initdb and pg_ctl, which Debian does not put into the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda path: float(path.parts[-3]))
    if found:
        return found[-1].parent
    ctl, init = shutil.which("pg_ctl"), shutil.which("initdb")
    return Path(ctl).parent if ctl and init else None


@pytest.fixture(scope="module")
def server():
    """The URL of a server on loopback with a password, in a temporary folder; without its database."""
    if (folder := programs()) is None:
        pytest.skip("PostgreSQL is not installed (Debian's package postgresql), so shared databases are not tested")
    as_user = {"user": "postgres" if _exists("postgres") else "nobody"} if os.getuid() == 0 else {}  # it refuses to be root
    home = Path(tempfile.mkdtemp(prefix="trunkline-postgresql-"))
    (home / "password").write_text(PASSWORD)
    if as_user:
        for path in (home, home / "password"):
            shutil.chown(path, as_user["user"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(program: str, *arguments: str) -> None:
        command = [str(folder / program), "-D", str(home / "data"), *arguments]
        subprocess.run(command, check=True, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **as_user)

    try:
        run("initdb", "-U", "anna", "-A", "scram-sha-256", "--pwfile", str(home / "password"), "-N", "-E", "UTF8")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        run("pg_ctl", "-w", "-l", str(home / "log"), "-o", options, "start")
        try:
            yield f"postgresql://anna:{QUOTED}@127.0.0.1:{port}"
        finally:
            run("pg_ctl", "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(home)


def _exists(user: str) -> bool:
    import pwd

    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


@pytest.fixture
def url(server, request):
    """The URL of a new database."""
    name = request.node.name.split("[")[0][-40:]
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return f"{server}/{name}"


@pytest.fixture
def given(tiny_trunk_dir, sweep_rows, url):
    space = {"learning_rate": {"low": 1e-3, "high": 1e-1, "log": True}, "method.dim": [8, 16]}
    made = values(tiny_trunk_dir, sweep_rows, space=space, trials=8, pruner="hyperband", storage=url)
    made["training"]["epochs"] = 4
    return made


def _search(given, path, publish) -> None:
    sys.stdout = sys.stderr = open(path.with_suffix(".told"), "w", buffering=1)  # noqa: SIM115
    os.dup2(sys.stderr.fileno(), 2)
    Sweep(planned(given), path).search(publish, print)


@pytest.fixture
def start(processes):
    """A function that searches in a process of its own."""

    def started(given, path, publish=quiet):
        one = processes.Process(target=_search, args=(given, path, publish))
        one.start()
        return one

    return started


def finish(*started) -> None:
    for one in started:
        one.join(300)
        assert one.exitcode == 0


def test_a_sweep_of_a_server_is_found_again_and_another_one_refused(url):
    """Without a run, so that it is quick: tables, the study in them, and a name that shows no secret."""
    made = storage.Storage(url, Path("nowhere"), "config", Path())
    study = made.join("mine", "one", "maximize", None)
    with storage.quiet_optuna():
        study.tell(study.ask(), 0.5)
    again = storage.Storage(url, Path("nowhere"), "config", Path()).join("mine", "one", "maximize", None)
    assert [trial.value for trial in again.trials] == [0.5]
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT study_name FROM studies").fetchall() == [("mine",)]
    with pytest.raises(
        BadInput, match="found a sweep 'mine' of another space, another config, another trunk or other data"
    ) as caught:
        made.join("mine", "two", "maximize", None)
    assert not any(secret in made.name + str(caught.value) for secret in (PASSWORD, QUOTED, "anna"))


@pytest.mark.slow
def test_machines_that_start_together_share_the_trials(given, start, tmp_path):
    """Each has a folder of its own, as on another machine."""
    finish(*[start(given, tmp_path / name) for name in ("a", "b", "c")])
    sweep = Sweep(planned(given), tmp_path / "a")
    ended = Ended()
    facts = sweep.search(ended).facts
    assert not ended
    count = facts["trials"]["total"]
    assert 8 <= count <= 10 and facts["trials"]["failed"] == 0  # two may ask while the third begins the last one
    found = trials.counted(sweep.study)
    assert len({trial.params["training.learning_rate"] for trial in found}) == count
    folders = [
        {path.name for path in (tmp_path / name / "runs").iterdir() if not (path / "answers").exists()}
        for name in ("a", "b", "c")
    ]
    assert len(set().union(*folders)) == sum(map(len, folders)) == count and all(folders)
    bests = [yaml.safe_load((tmp_path / name / "best.yaml").read_text()) for name in ("a", "b", "c")]
    assert bests[0] == bests[1] == bests[2]
    assert {name.split("/")[-1] for name in facts["repeated"].values()} <= {
        path.name for path in (tmp_path / "b" / "runs").iterdir()
    }


@pytest.mark.slow
def test_processes_of_one_folder_run_exactly_as_many_trials_as_asked_for(given, start, tmp_path):
    finish(*[start(given, tmp_path / "shared") for _ in range(3)])
    facts = Sweep(planned(given), tmp_path / "shared").search().facts
    assert facts["trials"]["total"] == 8


class Killing:
    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self, event) -> None:
        if isinstance(event, BatchEnded):
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_the_trial_of_a_machine_that_died_is_begun_again_by_another(given, start, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "HEARTBEAT", 1)
    monkeypatch.setattr(storage, "GRACE", 5)
    dying = start(given, tmp_path / "dying", Killing(9))
    dying.join(300)
    assert dying.exitcode == -signal.SIGKILL
    sweep = Sweep(planned(given), tmp_path / "other")
    [running] = [trial for trial in sweep.study.trials if trial.state.name == "RUNNING"]
    time.sleep(6)
    facts = sweep.search().facts
    assert facts["trials"]["total"] == 8 and facts["trials"]["failed"] == 0
    dead, *later = sweep.study.trials[running.number :]
    assert dead.state.name == "FAIL"
    assert any(trial.params == dead.params and trial.state.is_finished() for trial in later)


@pytest.mark.slow
def test_the_password_is_nowhere(given, start, url, tmp_path):
    finish(start(given, tmp_path / "sweep"))
    seen = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "sweep.told" for path in seen) and any(path.name == "best.yaml" for path in seen)
    for path in seen:
        content = path.read_bytes()
        assert not any(secret.encode() in content for secret in (PASSWORD, QUOTED, "anna")), path
    sweep = Sweep(planned(given), tmp_path / "sweep")
    facts = sweep.search().facts
    assert facts["storage"] == "postgresql://127.0.0.1:" + url.rpartition("@")[2].partition(":")[2]
    assert not any(secret in str(facts) + repr(sweep.storage) for secret in (PASSWORD, QUOTED, "anna"))
    assert "found a" in _refusal({**given, "training": {**given["training"], "epochs": 5}}, tmp_path / "other")


@pytest.mark.slow
def test_what_a_server_refuses_is_one_sentence(given, url, tmp_path):
    wrong = {
        url.replace(QUOTED, "falsch"): "cannot be reached or used (password authentication failed)",
        url + "x": "cannot be reached or used (database does not exist)",
    }
    for number, (other, message) in enumerate(wrong.items()):
        given["sweep"]["storage"] = other
        assert message in _refusal(given, tmp_path / str(number))


def _refusal(given, path) -> str:
    with pytest.raises(BadInput) as caught:
        Sweep(planned(given), path)
    said = str(caught.value)
    assert "\n" not in said and not any(secret in said for secret in (PASSWORD, QUOTED, "anna", "falsch"))
    return said
