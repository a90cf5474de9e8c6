"""A server that nobody asks gives freed memory back."""

from __future__ import annotations

import asyncio
import contextlib
import gc

import pytest

from trunkline.serving.admission import Admission
from trunkline.serving.http import run


def test_freed_memory_is_given_back_once_after_each_time_of_requests(monkeypatch):
    given = []
    monkeypatch.setattr(run, "give_back_freed_memory", lambda: given.append(len(given)))
    monkeypatch.setattr(run.gc, "collect", lambda: None)  # of all that the tests have loaded, it takes longer than they wait
    admission = Admission(100)

    async def scenario():
        task = asyncio.create_task(run.give_back_when_idle(admission, seconds=0.01))
        await asyncio.sleep(0.05)
        assert given == []  # nothing was asked
        for expected in ([0], [0, 1]):
            room = admission.enter(10)
            await asyncio.sleep(0.05)
            assert given == expected[:-1]  # it is being answered
            admission.leave(room)
            await asyncio.sleep(0.1)
            assert given == expected
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(scenario())


@pytest.fixture
def nothing_frozen():
    """Nothing is frozen before and after the test: commands tried in this process before it freeze what they have loaded."""
    gc.unfreeze()
    yield
    gc.unfreeze()


def test_garbage_is_collected_rarely_while_serving_and_as_before_afterwards(nothing_frozen):
    before = gc.get_threshold()
    with pytest.raises(KeyError), run.few_collections():
        assert gc.get_threshold() == run.COLLECTING != before
        assert gc.get_freeze_count() > 10_000  # what the libraries have made
        raise KeyError
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)


def test_what_was_frozen_before_stays_frozen(nothing_frozen):
    gc.freeze()
    frozen = gc.get_freeze_count()
    with run.few_collections():
        pass
    assert gc.get_freeze_count() >= frozen
