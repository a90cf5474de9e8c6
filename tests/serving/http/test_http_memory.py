"""A server that nobody asks gives freed memory back."""

from __future__ import annotations

import asyncio
import contextlib

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
