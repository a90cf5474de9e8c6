"""`tracked.json` of a run's directory: which runs of tracking tools are this run, and how much of it they were given.

It has an entry for each tracker, found again by its section of the config and the run's identity. So a run that is resumed
continues the same tracked run, and what is computed again is not logged again; another config, or other settings of a tracker,
begin another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trunkline.errors import BadInput
from trunkline.files import read_object, write_json

FILE = "tracked.json"
_MARK = {"schema": 1, "written_by": "trunkline", "holds": "which runs of tracking tools are this run"}


@dataclass
class Tracked:
    """One entry.

    Attributes:
        tracker: its section of the config.
        identity: of the run.
        id: what the tool calls the run; None before it has begun.
        rows: how often numbers were logged.
        logged: by stage and kind of number, the step or epoch up to which they were.
    """

    tracker: Mapping[str, Any]
    identity: str
    id: str | None = None
    rows: int = 0
    logged: dict[str, int] = field(default_factory=dict)

    @property
    def step(self) -> int:
        """The largest step of which anything was logged."""
        return max((step for kind, step in self.logged.items() if kind.endswith("step")), default=0)


def tracked(folder: Path, tracker: Mapping[str, Any], identity: str) -> Tracked:
    """Return the entry of a tracker in a run's directory, a new one if there is none."""
    for found in _entries(folder):
        if (found["tracker"], found["identity"]) == (tracker, identity):
            return Tracked(**found)
    return Tracked(tracker, identity)


def remember(folder: Path, entry: Tracked) -> None:
    """Write an entry over what was there for the same tracker."""
    others = [one for one in _entries(folder) if one["tracker"] != entry.tracker]
    write_json(folder / FILE, {**_MARK, "runs": [*others, asdict(entry)]})


def forget(folder: Path) -> None:
    """Let what is trained next in a run's directory begin other tracked runs."""
    try:
        _entries(folder)
    except FileExistsError:
        return
    (folder / FILE).unlink(missing_ok=True)


def _entries(folder: Path) -> list[dict[str, Any]]:
    if not (folder / FILE).exists():
        return []
    try:
        found = read_object(folder / FILE)
    except BadInput:
        found = {}
    if found.get("written_by") != _MARK["written_by"]:
        raise FileExistsError(0, f"{folder / FILE} was written by another program")
    return list(found["runs"])
