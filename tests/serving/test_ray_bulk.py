"""Files predicted on a Ray cluster: the bytes of one process, whatever is killed and whoever joins."""

import json
import random
import signal
from pathlib import Path

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from bundletools import make
from raytools import command, ended, until
from tiny import WORDS, tiny_bert

from trunkline.data.sources import read_table
from trunkline.model.branch import save_branch
from trunkline.trunk.load import load_trunk

pytestmark = pytest.mark.slow

ROWS = 20_000


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Two branches; 20,000 texts, of which some rows are empty or broken; and what one process predicts for them."""
    home = tmp_path_factory.mktemp("home")
    trunk = load_trunk(tiny_bert(home / "trunk"), dtype="fp32", device="cpu")
    save_branch(make(trunk, "sequence"), home / "mood")
    save_branch(make(trunk, "token", seed=1), home / "slots")
    draw = random.Random(0)
    texts = [" ".join(draw.choices(WORDS, k=draw.randint(1, 9))) for _ in range(ROWS)]
    lines = [json.dumps({"id": number, "text": text, "mood": number % 3}) for number, text in enumerate(texts)]
    lines[7], lines[9_000], lines[9_001] = '{"id": 7, "text": null, "mood": null}', '{"id": 9000, "text', "[1]"
    (home / "texts.jsonl").write_text("\n".join(lines) + "\n")
    said = ended(command("predict", "mood", "slots", "-i", "texts.jsonl", "-o", "one.jsonl", "--json", cwd=home))
    (home / "said.json").write_text(said[: said.rindex("}") + 1])
    return home


def started(machines, home, output, *more):
    arguments = ["mood", "slots", "-i", "texts.jsonl", "-o", output, "--engine", "ray", "--ray", f"address={machines.address}"]
    return command("predict", *arguments, *more, cwd=home)


def check(home, output):
    """The folder is the file of one process, and says the same of it."""
    files = sorted((home / output).glob("[!_]*"))
    assert b"".join(file.read_bytes() for file in files) == (home / "one.jsonl").read_bytes()
    facts = json.loads((home / output / "_predictions.json").read_text())
    one = json.loads((home / "said.json").read_text())
    assert facts["rows"] == ROWS and facts["bad_rows"] == 2 and facts["findings"] == one["findings"] != []
    assert [file["file"] for file in facts["files"]] == [file.name for file in files] and len(files) == 5
    assert sorted(path.name for path in (home / output).iterdir()) == ["_predictions.json", *(file.name for file in files)]
    return facts


def written(home, output):
    return list((home / output / "_done").glob("*.json"))


def test_a_node_is_killed_and_no_other_joins(machines, home):
    doomed, left = machines.of_size(2)
    process = started(machines, home, "killed")
    until(lambda: written(home, "killed"), process)
    machines.kill(doomed)
    said = ended(process)
    assert f"wrote {ROWS:,} rows" in said and "Traceback" not in said
    assert left.node_id in {file["node"] for file in check(home, "killed")["files"]}


def test_a_node_that_joins_takes_over(machines, home):
    machines.of_size(0)
    process = started(machines, home, "joined")
    waiting = "no machine of the cluster has num_cpus=1; waiting for one that joins"
    assert any(waiting in line for line in process.stderr), "it ended without waiting for a node"
    first = machines.join()
    until(lambda: written(home, "joined"), process)
    second = machines.join()
    machines.kill(first)
    ended(process)
    assert {file["node"] for file in check(home, "joined")["files"]} == {first.node_id, second.node_id}


def test_a_command_that_was_stopped_is_resumed(machines, home):
    machines.of_size(1)
    process = started(machines, home, "stopped")
    until(lambda: written(home, "stopped"), process)
    process.send_signal(signal.SIGINT)
    ended(process, 130)
    before = {file.name: file.stat().st_mtime_ns for file in (home / "stopped").glob("part-*")}
    assert 0 < len(before) < 5
    said = ended(started(machines, home, "other", "--min-confidence", "0.5", "--json"), 0)
    assert json.loads(said[: said.rindex("}") + 1])["resumed_rows"] == 0
    found = ended(started(machines, home, "stopped", "--scores"), 2)
    assert "found unfinished predictions of something else (other options), expected a new or empty folder" in found
    assert "rows were done already" in ended(started(machines, home, "stopped"))
    assert all((home / "stopped" / name).stat().st_mtime_ns == when for name, when in before.items())
    check(home, "stopped")
    assert "found predictions that are finished, expected a new or empty folder" in ended(started(machines, home, "stopped"), 2)


def test_parquet_in_partitions_is_one_data_set(machines, home):
    machines.of_size(1)
    rows = read_table(str(home / "one.jsonl"))
    import pyarrow as pa

    texts = pa.table({"text": rows.columns["text"][10:5_000], "mood": [0.5] * 4_990})
    pq.write_table(texts, home / "texts.parquet", row_group_size=1_000)
    ended(command("predict", "mood", "slots", "-i", "texts.parquet", "-o", "one.parquet", cwd=home))
    arguments = ["-i", "texts.parquet", "-o", "many", "--format", "parquet", "--engine", "ray"]
    said = ended(command("predict", "mood", "slots", *arguments, "--ray", f"address={machines.address}", cwd=home))
    assert said.count("columns of the input with the names of predictions are renamed") == 1
    found = ds.dataset(home / "many", format="parquet").to_table()
    assert found.drop_columns("error").equals(pq.read_table(home / "one.parquet")) and found["error"].null_count == 4_990


def test_what_is_wrong_is_said_by_the_command_that_was_started(machines, home):
    machines.of_size(1)
    (home / "bad.jsonl").write_text('{"body": "x"}\n')
    arguments = ["-i", "bad.jsonl", "-o", "bad", "--engine", "ray", "--ray", f"address={machines.address}"]
    here = ended(command("predict", "mood", "slots", "-i", "bad.jsonl", "-o", "bad.one.jsonl", cwd=home), 0)
    there = ended(command("predict", "mood", "slots", *arguments, cwd=home), 0)
    assert [line for line in here.splitlines() if "body" in line] == [line for line in there.splitlines() if "body" in line]
    (home / "worse.jsonl").write_text('{"body": "x", "title": "y"}\n')
    arguments[1], arguments[3] = "worse.jsonl", "worse"
    here = ended(command("predict", "mood", "slots", "-i", "worse.jsonl", "-o", "worse.one.jsonl", cwd=home), 2)
    there = ended(command("predict", "mood", "slots", *arguments, cwd=home), 2)
    assert there.splitlines()[-1] == here.splitlines()[-1]
