"""A cluster whose machines are all lost while a command uses it: it is told of, and the same command resumes on another one."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
from bundletools import make
from clitools import made_up, write_jsonl
from raytools import LONG, command, ended, machines, until
from tiny import WORDS, tiny_bert

from trunkline.model.branch import save_branch
from trunkline.trunk.load import load_trunk

pytestmark = pytest.mark.slow

WAITS = "all machines with room for a worker are lost; waiting for one that joins; what is done is kept"
LOST = "is lost: its head does not answer; Ray ends this process soon; what is done is kept, and the same command resumes"
STUDY = """
trunk: {name: trunk, dtype: fp32, device: cpu}
data: {train: rows.jsonl, validation: 20%, test: 20%}
tasks: {mood: {kind: sequence, label: mood}}
training: {epochs: 3, batch_tokens: 256}
methods: {probe: null, lora: {method: {name: lora, r: 4}}, bitfit: null}
study: {seeds: 2, floors: false}
"""


def prepare_predict(home: Path) -> tuple[str, ...]:
    draw = random.Random(0)
    texts = [{"text": " ".join(draw.choices(WORDS, k=draw.randint(1, 9)))} for _ in range(20_000)]
    (home / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    save_branch(make(load_trunk(home / "trunk", dtype="fp32", device="cpu"), "sequence"), home / "mood")
    return "predict", "mood", "-i", "texts.jsonl", "-o"


def prepare_compare(home: Path) -> tuple[str, ...]:
    write_jsonl(home / "rows.jsonl", made_up(400))
    (home / "study.yaml").write_text(STUDY)
    return "compare", "study.yaml", "--out"


def stopped(process: subprocess.Popen, lines: list[str], reading: Thread) -> str:
    """Wait for the end that Ray makes; what was said."""
    process.wait(timeout=LONG)
    reading.join()
    assert process.returncode == 1, lines
    return "".join(lines)


@pytest.mark.parametrize(
    ("prepare", "files", "whole"), [(prepare_predict, "part-*.jsonl", 5), (prepare_compare, "runs/*/result.json", 6)]
)
def test_a_cluster_that_is_lost_is_told_of_and_another_one_resumes(
    tmp_path: Path, prepare: Callable[[Path], tuple[str, ...]], files: str, whole: int
) -> None:
    tiny_bert(tmp_path / "trunk")
    asked = prepare(tmp_path)

    def written() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (tmp_path / "many").glob(files)}

    def start(address: str) -> subprocess.Popen:
        return command(*asked, "many", "--engine", "ray", "--ray", f"address={address}", cwd=tmp_path)

    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    with machines(tmp_path / "first") as first:
        (node,) = first.of_size(1)
        process, lines = start(first.address), list[str]()
        reading = Thread(target=lambda: lines.extend(process.stderr or ()), daemon=True)
        reading.start()
        until(written, process)
        first.kill(node)
        until(lambda: WAITS in "".join(lines), process)
        before = written()
        first.cluster.head_node.kill_all_processes(check_alive=False, allow_graceful=False)
        said = stopped(process, lines, reading)
    assert said.count(WAITS) == 1 and said.count(LOST) == 1 and lines[-1].endswith(f"{LOST}\n") and "Traceback" not in said
    assert 0 < len(before) < whole
    with machines(tmp_path / "second") as second:
        second.of_size(1)
        ended(start(second.address))
    assert len(written()) == whole and before.items() <= written().items()
    if whole == 5:
        ended(command(*asked, "one.jsonl", cwd=tmp_path))
        assert b"".join(path.read_bytes() for path in sorted(written())) == (tmp_path / "one.jsonl").read_bytes()
