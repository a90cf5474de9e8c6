"""What is told of a cluster whose machines or head go away, without Ray."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from trunkline import cluster


class Looks:
    """An event that is set after so many looks, before each of which something may happen."""

    def __init__(self, *before: Callable[[], object] | None) -> None:
        self.before: Iterator[Callable[[], object] | None] = iter(before)

    def wait(self, seconds: float) -> bool:
        for happens in self.before:
            if happens is not None:
                happens()
            return False
        return True


class Places:
    def __init__(self) -> None:
        self.now = 1

    def places(self) -> int:
        return self.now

    def have(self, count: int) -> Callable[[], None]:
        return lambda: setattr(self, "now", count)


def test_machines_that_are_lost_are_told_of_each_time_that_the_last_one_goes():
    there, said = Places(), []
    looks = Looks(None, there.have(2), there.have(1), there.have(0), None, there.have(1), there.have(0))
    cluster._watch_machines(there, said.append, looks)
    assert said == ["all machines with room for a worker are lost; waiting for one that joins; " + cluster.KEPT] * 2


def test_a_cluster_that_never_had_room_is_not_lost():
    there, said = Places(), []
    there.now = 0
    cluster._watch_machines(there, said.append, Looks(None, None))
    assert said == []


def test_a_head_that_is_lost_while_machines_are_asked_for_ends_the_watch_of_machines():
    there, said = Places(), []

    def lost() -> int:
        raise RuntimeError("no head")

    cluster._watch_machines(there, said.append, Looks(lambda: setattr(there, "places", lost), None))
    assert said == []


@pytest.fixture
def head() -> Iterator[tuple[socket.socket, str]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server, f"127.0.0.1:{server.getsockname()[1]}"


def test_a_head_that_does_not_answer_for_a_while_is_told_of_once(head):
    server, address = head
    said: list[str] = []
    cluster._watch_head(address, said.append, Looks(None, None, server.close, None, None, None))
    assert said == []
    cluster._watch_head(address, said.append, Looks(*[None] * 20))
    assert len(said) == 1 and address in said[0] and said[0].endswith(cluster.KEPT)


def test_a_head_that_answers_again_in_time_is_not_told_of(monkeypatch):
    answers, said = iter([False] * 4 + [True] + [False] * 4), []
    monkeypatch.setattr(cluster, "answers", lambda address: next(answers))
    cluster._watch_head("127.0.0.1:1", said.append, Looks(*[None] * 9))
    assert said == []
