"""Giving up what takes long, once nobody waits for it any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

EVERY = 2048  # steps of a long loop after which it looks

_asked: ContextVar[Callable[[], bool] | None] = ContextVar("asked", default=None)


class Stopped(Exception):
    """Nobody waits for what is being computed; caught by whoever has called `stopping`."""


@contextmanager
def stopping(asked: Callable[[], bool]) -> Iterator[None]:
    """Within it, `check` raises Stopped in this thread once `asked` returns True."""
    token = _asked.set(asked)
    try:
        yield
    finally:
        _asked.reset(token)


def check(step: int = 0) -> None:
    """Raise Stopped where nobody waits any more; looked at in every EVERY-th step."""
    if step % EVERY == 0 and (asked := _asked.get()) is not None and asked():
        raise Stopped
