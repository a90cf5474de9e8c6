"""The events of a run, told to a tool that tracks runs: what all of them have in common.

A tool gets each number once, also where a run is resumed (tracked.py). Texts of a user's data never reach it: the findings of a
run, whose sentences may quote a few characters of what they are about, are left out of what it keeps of result.json.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import yaml

from trunkline.events import EpochEnded, Evaluated, Event, RunEnded, RunStarted, StageStarted
from trunkline.files import directory_bytes
from trunkline.trackers.base import TrackerConfig
from trunkline.trackers.measures import of_epoch, of_evaluation, of_result, parameters
from trunkline.trackers.tracked import Tracked, remember, tracked

Outcome = Literal["finished", "interrupted", "failed"]
LARGEST = 64 * 2**20  # bytes of a branch's folder that a tool is given: whole tuned trunks are kept once


@dataclass(frozen=True)
class Beginning:
    """A run as a tool is told of it.

    Attributes:
        path: the run's directory, absolute.
        parameters: by name, strings and numbers.
        monitored: the names of the numbers that decide which weights are kept.
        known: the id that the tool has given the run before, if it is resumed.
    """

    path: Path
    parameters: Mapping[str, Any]
    monitored: tuple[str, ...]
    known: str | None


class Tool(Protocol):
    """What a tool does with a run."""

    def begin(self, run: Beginning) -> str:
        """Open the run, or a new one where it is not known any more; return its id."""

    def log(self, numbers: Mapping[str, float], step: int, row: int) -> None:
        """Take numbers of a step; `row` counts these calls over all resumptions of a run."""

    def keep(self, texts: Mapping[str, str], folders: Mapping[str, Path]) -> None:
        """Keep artefacts, by name: texts, and folders of files that lie in the run's directory."""

    def end(self, outcome: Outcome) -> None:
        """Close the run."""


class Recording:
    """Tells one tool of one run.

    Args:
        config: the tracker's section.
        tool: not begun yet.
    """

    def __init__(self, config: TrackerConfig, tool: Tool) -> None:
        self._section, self._tool = config.model_dump(mode="json"), tool
        self._entry: Tracked | None = None
        self._path, self._config, self._stage = Path(), dict[str, Any](), ""

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._begin(event)
        elif isinstance(event, StageStarted):
            self._stage = f"{event.name}/"
        elif isinstance(event, Evaluated):
            self._log(f"{self._stage}step", event.step, of_evaluation(event), event.step)
        elif isinstance(event, EpochEnded):
            self._log(f"{self._stage}epoch", event.epoch, of_epoch(event), event.step)
        elif isinstance(event, RunEnded):
            self._end(event)

    def _begin(self, event: RunStarted) -> None:
        self._path = Path(os.path.abspath(event.path))
        self._config = {key: value for key, value in event.config.items() if key != "trackers"}
        entry = tracked(self._path, self._section, event.identity)
        monitored = tuple(f"validation/{task.name}/{task.monitor}" for task in event.tasks)
        found = self._tool.begin(Beginning(self._path, parameters(event), monitored, entry.id))
        if found != entry.id:
            entry = Tracked(self._section, event.identity, found)
        self._entry = entry
        remember(self._path, entry)

    def _log(self, kind: str, place: int, numbers: Mapping[str, float], step: int) -> None:
        """Let the tool log numbers of a kind, unless it was given those of this place, and so these, before."""
        entry = self._entry
        if entry is None or place <= entry.logged.get(kind, -1):
            return
        self._tool.log({f"{self._stage}{name}": value for name, value in numbers.items()}, step, entry.rows)
        entry.rows += 1
        entry.logged[kind] = place
        remember(self._path, entry)

    def _end(self, event: RunEnded) -> None:
        if self._entry is None:  # it has failed before it began
            return
        texts = {"config.yaml": yaml.safe_dump(self._config, sort_keys=False, allow_unicode=True)}
        folders = {}
        if event.summary is not None:
            self._stage = ""
            self._log("final", 0, of_result(event.summary), self._entry.step)
            told = {key: value for key, value in event.summary.items() if key != "findings"}
            texts["result.json"] = json.dumps(told, indent=2, ensure_ascii=False) + "\n"
            branches = {name: self._path / "branches" / name for name in event.summary["tasks"]}
            folders = {f"branches/{name}": one for name, one in branches.items() if directory_bytes(one) <= LARGEST}
        self._tool.keep(texts, folders)
        self._tool.end(event.outcome)
