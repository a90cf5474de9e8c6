"""The progress of a source of unknown length: on a terminal a bar with the rest of the time, elsewhere a line now and then."""

import io

import pytest
from rich.console import Console

from trunkline.trackers import every_minute, streaming


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(every_minute, "now", lambda: now[0])
    return now


def test_a_log_gets_a_line_a_minute_with_the_time_left(clock):
    log = io.StringIO()
    with streaming.streaming(Console(file=log, width=200), "predicting") as show:
        for rows in range(100, 1700, 100):  # 10 rows a second, of 6,000
            clock[0] += 10
            show(rows, rows / 6000)
    first, second = log.getvalue().splitlines()
    assert first == "predicting: 600 rows (10%), about 9 min left; 10 a second"  # 5,400 rows in 540 s
    assert second == "predicting: 1,200 rows (20%), about 8 min left; 10 a second"


def test_rows_of_an_earlier_run_do_not_count_for_the_speed(clock):
    log = io.StringIO()
    with streaming.streaming(Console(file=log, width=200), "predicting") as show:
        show(100_000, 0.5)
        for step in range(1, 13):
            clock[0] += 10
            show(100_000 + 10 * step, None)
    assert log.getvalue().splitlines() == [
        "predicting: 100,060 rows; 1 a second", "predicting: 100,120 rows; 1 a second"
    ]  # fmt: skip


def test_a_terminal_gets_a_bar_with_rows_speed_and_time_left(monkeypatch):
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=120, legacy_windows=False)
    with streaming.streaming(console, "predicting") as show:
        show(500, 0.25)
        show(1000, 0.5)
    assert "1,000 rows" in shown.getvalue() and "50%" in shown.getvalue() and "a second" in shown.getvalue()
