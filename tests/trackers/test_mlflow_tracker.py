"""The tracker `mlflow`, read back with MLflow's own client: its database, and a real server on loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from trackedruns import bytes_below, evaluated, needs, of_test, stopped_after, tell, tracker

from trunkline.events import EpochEnded, RunEnded
from trunkline.training.fit import fit

pytestmark = [needs(package, "mlflow") for package in ("mlflow", "sqlalchemy", "alembic")]


@pytest.fixture
def quick_databases():
    """A new database is written in many migrations, whose time is mostly spent waiting for the disk."""
    import sqlalchemy

    def unsynchronised(connection, record):
        connection.execute("PRAGMA synchronous=OFF")

    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", unsynchronised)
    yield
    sqlalchemy.event.remove(sqlalchemy.Engine, "connect", unsynchronised)


def client_of(uri):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def runs_of(client, experiment="trunkline"):
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return sorted(found, key=lambda run: run.info.start_time)


def artefacts_of(client, run, path=None):
    found = client.list_artifacts(run.info.run_id, path)
    return {one.path for one in found if not one.is_dir}.union(
        *(artefacts_of(client, run, one.path) for one in found if one.is_dir)
    )


def holds_all(client, run, summary):
    for name, expected in evaluated(summary).items():
        assert [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, name)] == list(expected.items())
    assert {name: run.data.metrics[name] for name in of_test(summary)} == of_test(summary)
    files = {"branch.json", "weights.safetensors"}
    branches = {f"branches/{task}/{file}" for task in summary["tasks"] for file in files}
    assert artefacts_of(client, run) == {"config.yaml", "result.json"} | branches


def test_runs_in_the_database_beside_the_run(told, quick_databases, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    tell(tracker("mlflow"), told.interrupted())
    client = client_of(f"sqlite:///{told.path.parent / 'mlflow.db'}")
    (run,) = runs_of(client)
    assert run.info.status == "KILLED" and artefacts_of(client, run) == {"config.yaml"}
    tell(tracker("mlflow", run="by another name"), [*told.until_epoch(1), RunEnded(told.path, "failed")])
    tell(tracker("mlflow"), told.events)
    run, other = runs_of(client)
    assert (run.info.status, other.info.status) == ("FINISHED", "FAILED")
    assert (run.info.run_name, other.info.run_name) == ("a-run", "by another name")
    holds_all(client, run, told.summary)
    assert run.data.params["training.epochs"] == "3" and run.data.params["method.name"] == "adalayers"
    config = client.download_artifacts(run.info.run_id, "config.yaml", str(told.path))
    assert yaml.safe_load(Path(config).read_text())["training"]["epochs"] == 3
    stored = bytes_below(told.path.parent / "mlartifacts") + (told.path.parent / "mlflow.db").read_bytes()
    assert not any(text.encode() in stored for text in told.texts())
    assert "mlflow" not in capsys.readouterr().out.lower()


@contextmanager
def served(folder, port):
    """MLflow's server with a database of its own in `folder`; yields its address and what stops it."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'server.db'}", "--artifacts-destination", str(folder / "kept")]
    own = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    process = subprocess.Popen(command, env=os.environ | own, cwd=folder, start_new_session=True, stderr=subprocess.DEVNULL)

    def stop():
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)

    address, began = f"http://127.0.0.1:{port}", time.monotonic()
    try:
        while True:
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() - began < 240, "the server does not start"
                time.sleep(0.3)
        yield address, stop
    finally:
        stop()


@needs("flask", "dev")
@needs("flask_cors", "dev")
@needs("aiohttp", "dev")
@pytest.mark.slow
def test_a_server(trained, tmp_path, caplog, capsys, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "server").mkdir()
    with served(tmp_path / "server", port) as (address, stop):
        section = {"name": "mlflow", "uri": address, "experiment": "moods"}
        stopped_after(trained, 2, tmp_path / "run", trackers=[section])
        client = client_of(address)
        assert [run.info.status for run in runs_of(client, "moods")] == ["FAILED"]
        result = fit({**trained.values, "trackers": [section]}, run_dir=tmp_path / "run", progress=False)
        (run,) = runs_of(client, "moods")
        assert run.info.status == "FINISHED" and run.info.artifact_uri.startswith("mlflow-artifacts:")
        holds_all(client, run, result.summary)
        stored = bytes_below(tmp_path / "server")
        assert b"adalayers" in stored and not any(text.encode() in stored for text in trained.texts())
        assert caplog.text == "" and "View run" not in capsys.readouterr().out and not (tmp_path / "mlflow.db").exists()

        client.delete_run(run.info.run_id)
        tell(tracker(**section), trained.moved(tmp_path / "run").events)
        (new,) = runs_of(client, "moods")
        assert new.info.run_id != run.info.run_id
        holds_all(client, new, result.summary)

        def gone(event):
            if isinstance(event, EpochEnded):
                stop()

        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        result = fit({**trained.values, "trackers": [section]}, run_dir=tmp_path / "other", subscribers=[gone], progress=False)
        assert result.summary["tasks"]["mood"]["test"] == trained.summary["tasks"]["mood"]["test"]
        assert caplog.text.count("MLflow failed at EpochEnded") == 1 and "training continues" in caplog.text
