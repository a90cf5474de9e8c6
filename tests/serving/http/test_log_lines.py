"""Lines of the log are written by a thread of their own: all of them by the end, unless nobody reads them.

A crash is told without it.
"""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import sys
import threading

from trunkline.serving.http import listening, logs

log = logging.getLogger("trunkline.serving")


def numbers(stream):
    return [json.loads(line)["n"] for line in stream.getvalue().splitlines()]


def test_all_lines_are_there_in_order_once_it_ends():
    stream = io.StringIO()
    with logs.json_logs(stream=stream):
        for number in range(200):
            log.info("counted", extra={"facts": {"n": number}})
    assert numbers(stream) == list(range(200))
    log.info("after", extra={"facts": {"n": -1}})
    assert numbers(stream) == list(range(200))


def test_a_reader_that_has_stopped_stops_no_request(monkeypatch):
    class Stopped(io.StringIO):
        begun, going_on = threading.Event(), threading.Event()

        def write(self, text):
            self.begun.set()
            assert self.going_on.wait(30)
            return super().write(text)

    stream = Stopped()
    monkeypatch.setattr(logs, "WAITING", 10)
    with logs.json_logs(stream=stream):
        for number in range(3):
            log.info("counted", extra={"facts": {"n": number}})
        assert stream.begun.wait(30)
        for number in range(3, 100):
            log.info("counted", extra={"facts": {"n": number}})
        stream.going_on.set()
    found = numbers(stream)
    assert found == list(range(len(found))) and 10 <= len(found) <= 13


def crash(folder):
    """In a process of its own: the command, which crashes."""
    os.dup2(os.open(folder / "err", os.O_CREAT | os.O_WRONLY), 2)
    secret = "so good"
    listening.check_installed = lambda: os.kill(os.getpid(), signal.SIGSEGV) or secret
    sys.argv = ["trunkline", "serve", "none"]
    from trunkline.cli import main

    main()


def test_a_crash_of_the_process_says_where_it_was(processes, tmp_path):
    process = processes.Process(target=crash, args=(tmp_path,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGSEGV
    told = (tmp_path / "err").read_text()
    assert told.startswith("Fatal Python error: Segmentation fault\n") and 'serve.py", line ' in told and "so good" not in told
