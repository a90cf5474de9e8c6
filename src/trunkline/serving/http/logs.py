"""Logs as a JSON object a line, without what errors say of the data that they were about."""

from __future__ import annotations

import faulthandler
import json
import logging
import logging.handlers
import queue
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

FRAMES = 3  # innermost places of an error that are named
WAITING = 10_000  # lines that may wait to be written; more are dropped, so that a stopped reader stops no request
GATHERING = 0.05  # seconds in which lines gather once all are written: woken for each, the thread would disturb the others


class JsonLines(logging.Formatter):
    """One line for a record. Of an error it names the type and the places in the code, not its words."""

    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        line: dict[str, Any] = {"time": when, "level": record.levelname.lower(), "event": record.getMessage()}
        line |= getattr(record, "facts", {})
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            line["at"] = _places(record.exc_info[2])
        return json.dumps(line, ensure_ascii=True)


class _Untouched(logging.handlers.QueueHandler):
    """Hands records on as they are: they go to a thread, not to a process. Where too many wait, one is dropped."""

    queue: queue.SimpleQueue[logging.LogRecord]

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        if self.queue.qsize() < WAITING:
            self.queue.put(record)


class _Gathering(logging.handlers.QueueListener):
    """Writes what has come, waits for more to gather, and only then to be woken."""

    def dequeue(self, block: bool) -> logging.LogRecord:
        if self.queue.empty():  # type: ignore[attr-defined]
            time.sleep(GATHERING)
        return super().dequeue(block)


@contextmanager
def json_logs(level: int = logging.INFO, stream: TextIO | None = None) -> Iterator[None]:
    """Within it, this package's and uvicorn's logs go to `stream` (stderr), written by a thread of their own."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    waiting: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    listener = _Gathering(waiting, handler)
    through = _Untouched(waiting)
    loggers = [logging.getLogger(name) for name in ("trunkline", "uvicorn", "python_multipart")]
    before = [(one, one.handlers[:], one.level, one.propagate) for one in loggers]
    for one in loggers:
        one.handlers, one.propagate = [through], False
        one.setLevel(level if one.name == "trunkline" else logging.WARNING)
    listener.start()
    try:
        yield
    finally:
        listener.stop()
        for one, handlers, was, propagate in before:
            one.handlers, one.propagate = handlers, propagate
            one.setLevel(was)


def trace_crashes() -> None:
    """Have a crash of the process (SIGSEGV, SIGABRT and the like) tell on stderr where each thread was.

    It names files, lines and functions, and no values. It is not JSON, as nothing can be put together by then.
    """
    if sys.__stderr__ is not None and not faulthandler.is_enabled():  # PYTHONFAULTHANDLER has done the same
        faulthandler.enable(sys.__stderr__)


def _places(found: TracebackType | None) -> list[str]:
    return [f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(found)[-FRAMES:]]
