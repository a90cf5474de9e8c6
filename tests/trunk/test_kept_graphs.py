"""Graphs on disk: which are removed when another one is made."""

from __future__ import annotations

import os
import time

import filelock
import pytest

from trunkline.files import sha256_file, write_json
from trunkline.trunk import kept_graphs
from trunkline.trunk.kept_graphs import DAY, DESCRIPTION, prune, sound

PARTS = {"trunk": "a", "versions": {"torch": "1"}}


@pytest.fixture
def graph(tmp_path):
    """graph(digit, days unused, bytes) -> the folder of a graph."""

    def make(digit, days=0.0, size=1000):
        path = tmp_path / "compiled" / (digit * 64)
        path.mkdir(parents=True)
        (path / "graph.bin").write_bytes(b"x" * size)
        write_json(path / DESCRIPTION, {"made_of": PARTS, "files": {"graph.bin": sha256_file(path / "graph.bin")}})
        old(path / DESCRIPTION, days)
        return path

    return make


def old(path, days):
    then = time.time() - days * DAY
    os.utime(path, (then, then))


def test_what_was_not_used_for_long_goes(graph):
    new, used, unused = graph("a", 40), graph("b", 29), graph("c", 31)
    unused.with_name(f"{unused.name}.lock").touch()
    assert prune(new.parent, keep=new) == [unused]
    assert sorted(path.name for path in new.parent.iterdir()) == [new.name, used.name]


def test_the_least_recently_used_go_where_all_are_too_large(graph, monkeypatch):
    new, third, first, second = graph("a", 9), graph("b", 1), graph("c", 3), graph("d", 2)
    each = sum(file.stat().st_size for file in new.iterdir())
    monkeypatch.setattr(kept_graphs, "LARGEST", 2 * each)
    assert prune(new.parent, keep=new) == [first, second]
    assert third.is_dir()


def test_opening_a_graph_counts_as_its_use(graph):
    path = graph("a", 31)
    assert sound(path, PARTS) and not sound(path, {**PARTS, "trunk": "b"})
    assert prune(path.parent, keep=graph("b")) == []


def test_what_is_being_made_or_is_not_a_graph_stays(graph):
    new, locked, strange, foreign = graph("a"), graph("b", 99), graph("c", 99), graph("d", 99)
    (strange / "notes.txt").write_text("mine")
    foreign = foreign.rename(foreign.with_name("mine"))
    killed, running = (new.parent / f".{'e' * 64}.trunkline-0123456{i}.tmp" for i in range(2))
    for path, days in ((killed, 2), (running, 0)):
        path.mkdir()
        old(path, days)
    with filelock.FileLock(locked.with_name(f"{locked.name}.lock")):
        assert prune(new.parent, keep=new) == []
    assert all(path.is_dir() for path in (locked, strange, foreign, running))
    assert not killed.exists()
    assert prune(new.parent, keep=new) == [locked]
