"""A cluster whose machines are all lost while a command uses it: it is told of, and the same command resumes on another one."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import pytest
from bundletools import make
from clitools import made_up, write_jsonl
from raytools import LONG, command, ended, machines, until
from tiny import WORDS, tiny_bert

from trunkline.model.branch import save_branch
from trunkline.states.manifest import states_name
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
SWEEP = """
trunk: {name: trunk, dtype: fp32, device: cpu}
data: {train: rows.jsonl, validation: 20%, test: 20%}
tasks: {mood: {kind: sequence, label: mood}}
method: {name: lora, r: 4}
training: {epochs: 3, batch_tokens: 256}
sweep: {space: {learning_rate: {low: 1e-3, high: 1e-1, log: true}}, sampler: random, trials: 6, seeds: 2}
"""
STATES = """
trunk: {name: trunk, dtype: fp32, device: cpu}
data: {train: rows.jsonl, validation: 20%}
tasks: {mood: {kind: sequence, label: mood}}
training: {states_dtype: fp32}
"""
SMALL = "import trunkline.states.manifest; trunkline.states.manifest.SHARD_BYTES = 1 << 15"


@dataclass(frozen=True)
class Work:
    """A command that uses a cluster.

    Attributes:
        asked: its arguments but for what it writes, which is `into`, or the folder of caches where that is None.
        done: of a folder in which it works, the files that are whole, and what tells one from another command's.
        first: code that runs before it.
    """

    asked: tuple[str, ...]
    into: str | None
    done: Callable[[Path], Iterator[Path]]
    first: str = ""

    def start(self, home: Path, name: str, *engine: str) -> subprocess.Popen:
        """Write into `name`."""
        code = f"import os; os.environ['TRUNKLINE_CACHE'] = {str(home / name)!r}; {self.first}"
        return command(*self.asked, *([] if self.into is None else [self.into, name]), *engine, cwd=home, first=code)

    def written(self, folder: Path) -> dict[str, int]:
        """When each file was written that is whole."""
        return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in self.done(folder)}


def prepare_predict(home: Path) -> Work:
    draw = random.Random(0)
    texts = [{"text": " ".join(draw.choices(WORDS, k=draw.randint(1, 9)))} for _ in range(20_000)]
    (home / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    save_branch(make(load_trunk(home / "trunk", dtype="fp32", device="cpu"), "sequence"), home / "mood")
    return Work(("predict", "mood", "-i", "texts.jsonl"), "-o", lambda folder: folder.glob("part-*.jsonl"))


def prepare_states(home: Path) -> Work:
    write_jsonl(home / "rows.jsonl", made_up(8_000))
    (home / "rows.yaml").write_text(STATES)
    return Work(("states", "build", "rows.yaml"), None, shards, SMALL)


def shards(cache: Path) -> Iterator[Path]:
    """The files that manifests list."""
    for manifest in cache.glob("states/*/store.json"):
        for layer, entries in json.loads(manifest.read_text())["layers"].items():
            yield from (manifest.parent / states_name(int(layer), number) for number, one in enumerate(entries) if one)


def prepare_compare(home: Path) -> Work:
    return runs(home, "compare", STUDY)


def prepare_sweep(home: Path) -> Work:
    return runs(home, "sweep", SWEEP)


def runs(home: Path, name: str, config: str) -> Work:
    write_jsonl(home / "rows.jsonl", made_up(400))
    (home / "config.yaml").write_text(config)
    return Work((name, "config.yaml"), "--out", lambda folder: folder.glob("runs/*/result.json"))


def stopped(process: subprocess.Popen, lines: list[str], reading: Thread) -> str:
    """Wait for the end that Ray makes; what was said."""
    process.wait(timeout=LONG)
    reading.join()
    assert process.returncode == 1, lines
    return "".join(lines)


@pytest.mark.parametrize("prepare", [prepare_predict, prepare_states, prepare_compare, prepare_sweep])
def test_a_cluster_that_is_lost_is_told_of_and_another_one_resumes(tmp_path: Path, prepare: Callable[[Path], Work]) -> None:
    tiny_bert(tmp_path / "trunk")
    work, many = prepare(tmp_path), tmp_path / "many"

    def start(address: str) -> subprocess.Popen:
        return work.start(tmp_path, "many", "--engine", "ray", "--ray", f"address={address}")

    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    with machines(tmp_path / "first") as first:
        (node,) = first.of_size(1)
        process, lines = start(first.address), list[str]()
        reading = Thread(target=lambda: lines.extend(process.stderr or ()), daemon=True)
        reading.start()
        until(lambda: work.written(many), process)
        first.kill(node)
        until(lambda: WAITS in "".join(lines), process)
        before = work.written(many)
        first.cluster.head_node.kill_all_processes(check_alive=False, allow_graceful=False)
        said = stopped(process, lines, reading)
    assert said.count(WAITS) == 1 and said.count(LOST) == 1 and lines[-1].endswith(f"{LOST}\n") and "Traceback" not in said
    with machines(tmp_path / "second") as second:
        second.of_size(1)
        ended(start(second.address))
    after = work.written(many)
    assert 0 < len(before) < len(after) and before.items() <= after.items()
    if prepare is prepare_predict:
        ended(command(*work.asked, "-o", "one.jsonl", cwd=tmp_path))
        assert b"".join((many / name).read_bytes() for name in sorted(after)) == (tmp_path / "one.jsonl").read_bytes()
        return
    ended(work.start(tmp_path, "one"))
    one = work.written(tmp_path / "one")
    assert one.keys() == after.keys()
    if prepare is prepare_states:
        assert all((many / name).read_bytes() == (tmp_path / "one" / name).read_bytes() for name in one)
