"""`jsonl`: a line of JSON for every event, in `events.jsonl` of the run's directory. Single batches are left out.

A line has `time` (seconds since 1970), `event` (the name of its type in trunkline/events.py) and the fields of that type.
A run that is resumed, or trained again in the same directory, adds its lines after those that are there.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import ClassVar, Literal, TextIO

from trunkline.events import BatchEnded, EvaluationProgress, Event, RunEnded, RunStarted, StatesProgress, as_dict
from trunkline.trackers.base import TrackerConfig, trackers

FILE = "events.jsonl"
_BEGINS = b'{"time": '


class JsonLinesConfig(TrackerConfig):
    name: Literal["jsonl"] = "jsonl"


@trackers.register("jsonl")
class JsonLines:
    """See the module's docstring."""

    Config: ClassVar[type[TrackerConfig]] = JsonLinesConfig

    def __init__(self, config: TrackerConfig) -> None:
        self._file: TextIO | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._file = _opened(event.path / FILE)
        if self._file is None or isinstance(event, (BatchEnded, StatesProgress, EvaluationProgress)):
            return
        self._file.write(json.dumps({"time": round(time.time(), 3), **as_dict(event)}, ensure_ascii=False) + "\n")
        self._file.flush()  # whoever follows the file sees it at once, and a kill loses nothing
        if isinstance(event, RunEnded):
            self._file.close()
            self._file = None


def _opened(path: Path) -> TextIO:
    """The file, ready for another line: half a line that a kill has left is cut off."""
    if path.exists():
        there = path.read_bytes()
        if there and not there.startswith(_BEGINS):
            raise FileExistsError(0, f"{path} was written by another program")
        os.truncate(path, there.rfind(b"\n") + 1)
    return path.open("a", encoding="utf-8")
