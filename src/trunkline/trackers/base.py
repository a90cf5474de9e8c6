"""What a tracker is: a class with a `Config`, made for one run, and called with every event of it.

The first that it is told of a run is `RunStarted`, with the run's directory and its config, but for `ColumnsInterpreted` and
`Preparing`, the last `RunEnded`, however the run ends. What it raises ends its subscription and nothing else.
"""

from __future__ import annotations

import importlib
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict

from trunkline.errors import BadInput
from trunkline.events import Event
from trunkline.registry import Registry


class TrackerConfig(BaseModel):
    """One of the config's `trackers:`; a tracker that has settings adds them."""

    PATHS: ClassVar[tuple[str, ...]] = ()  # settings that are paths: relative to the config's file
    model_config = ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)

    name: str


class Tracker(Protocol):
    Config: ClassVar[type[TrackerConfig]]

    def __init__(self, config: Any) -> None: ...

    def __call__(self, event: Event) -> None: ...


trackers: Registry[type[Tracker]] = Registry("tracker", "trunkline.trackers")


def library(module: str, tracker: str) -> Any:
    """Import a module of a library that `tracker` needs; BadInput that names the extra, called like the tracker, without it.

    For the constructor of a tracker, as that comes before work starts.
    """
    try:
        found = importlib.import_module(module)
        if found.__file__ is None:  # a folder of that name on the path, as W&B makes one
            raise ImportError
        return found
    except ImportError:
        needed = f"the tracker {tracker} needs the package {module.partition('.')[0]}"
        raise BadInput(f"{needed}: pip install 'trunkline[{tracker}]'") from None
