"""The tracker `trackio`, its database read back with Trackio's own functions.

Each test runs in a process of its own, as Trackio reads from the environment where its database lies when it is imported.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest
from trackedruns import bytes_below, evaluated, needs, of_test

pytestmark = [pytest.mark.slow, needs("trackio", "trackio")]

FIT = """
import json, sys
from trunkline.events import EpochEnded
from trunkline.training.fit import fit

def stop(event):
    if isinstance(event, EpochEnded) and event.epoch == int(sys.argv[2]):
        raise KeyboardInterrupt

fit(json.loads(sys.argv[1]), run_dir=sys.argv[3], subscribers=[stop], progress=False)
"""

READ = """
import json, sys
from trackio import Api
from trackio.sqlite_storage import SQLiteStorage

runs = list(Api().runs(sys.argv[1]))
logs = [SQLiteStorage.get_logs(sys.argv[1], run.name, run_id=run.id) for run in runs]
found = SQLiteStorage.get_artifact_manifest(sys.argv[1], sys.argv[2], "latest") if len(sys.argv) > 2 else None
print(json.dumps([[run.name for run in runs], [run.config for run in runs], logs, found]))
"""


@pytest.fixture
def run_in(tmp_path):
    def run(script, *arguments, **environment):
        own = os.environ | {"TRACKIO_DIR": str(tmp_path / "trackio"), "HF_HUB_OFFLINE": "1"} | environment
        command = [sys.executable, "-c", script, *map(str, arguments)]
        return subprocess.run(command, env=own, capture_output=True, text=True, timeout=300)

    return run


def test_a_run_that_was_interrupted_and_resumed(trained, tmp_path, run_in):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        mine = {"HF_TOKEN": "hf_secret", "HF_ENDPOINT": address, "TRACKIO_SERVER_URL": f"{address}?write_token=x"}
        mine |= {"HF_HUB_OFFLINE": "0", "TRACKIO_WEBHOOK_URL": address, "HTTPS_PROXY": address, "HTTP_PROXY": address}
        values = json.dumps({**trained.values, "trackers": [{"name": "trackio", "project": "moods"}]})
        first = run_in(FIT, values, 1, tmp_path / "a-run", **mine)
        assert "KeyboardInterrupt" in first.stderr and not (tmp_path / "a-run" / "result.json").exists()
        done = run_in(FIT, values, 0, tmp_path / "a-run", **mine)
        assert (done.returncode, done.stdout, first.stdout) == (0, "", ""), done.stderr
        with pytest.raises(BlockingIOError):
            listening.accept()
    summary = json.loads((tmp_path / "a-run" / "result.json").read_text())
    read = run_in(READ, "moods", "run-a-run")
    names, configs, logs, manifest = json.loads(read.stdout.splitlines()[-1])
    assert names == ["a-run"] and configs[0]["training.epochs"] == 3 and configs[0]["_Username"] is None
    for name, expected in evaluated(summary).items():
        assert [(row["step"], row[name]) for row in logs[0] if name in row] == list(expected.items())
    for name, value in of_test(summary).items():
        assert [row[name] for row in logs[0] if name in row] == [value]
    assert [row["outcome"] for row in logs[0] if "outcome" in row] == ["interrupted", "finished"]
    files = {f"branches/{task}/{file}" for task in summary["tasks"] for file in ("branch.json", "weights.safetensors")}
    assert {entry["path"] for entry in manifest["manifest"]} == {"config.yaml", "result.json"} | files
    stored = bytes_below(tmp_path / "trackio")
    assert b"adalayers" in stored and not any(text.encode() in stored for text in trained.texts())
