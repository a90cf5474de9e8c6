"""The paths of a config made absolute, so that a run means the same files wherever its config is read again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trunkline.data.sources import locate
from trunkline.errors import BadInput, literal
from trunkline.model.checking import Origin, at

if TYPE_CHECKING:
    from trunkline.training.config import RunConfig


def locate_paths(config: RunConfig, origin: Origin, base: Path) -> None:
    """Make the paths of trunk, data, method and trackers absolute, in place.

    Args:
        config: checked, its tasks, its method and its trackers too.
        origin: knows what overrides have set: paths there are relative to the working directory.
        base: folder that all other paths are relative to.
    """

    def located(value: Any, key: str, find: Callable[[str, Path], str]) -> Any:
        if isinstance(value, dict):
            return {name: located(one, f"{key}.{name}", find) for name, one in value.items()}
        if isinstance(value, list):
            return [located(one, key, find) for one in value]
        if not isinstance(value, str):
            return value
        try:
            return find(value, Path() if origin.override(key) else base)
        except (OSError, RuntimeError):  # longer than a path may be; a home directory of nobody
            raise BadInput(found=literal(value), expected="a path or a name", **at(origin, key)) from None

    config.trunk.name = located(config.trunk.name, "trunk.name", folder_or_name)
    for key in getattr(config.method, "PATHS", ()):
        setattr(config.method, key, located(getattr(config.method, key), f"method.{key}", _path))
    for number, tracker in enumerate(config.trackers):
        for key in tracker.PATHS:
            setattr(tracker, key, located(getattr(tracker, key), f"trackers.{number}.{key}", _path))
    sections = {"data": config.data} | {f"tasks.{name}.data": task.data for name, task in config.tasks.items() if task.data}
    for place, section in sections.items():
        for key in ("train", "validation", "test"):
            setattr(section, key, located(getattr(section, key), f"{place}.{key}", locate))


def _path(value: str, base: Path) -> str:
    return str((base / Path(value).expanduser()).resolve())


def folder_or_name(value: str, base: Path) -> str:
    """The name of a trunk: the absolute path of a folder, where it is one."""
    return _path(value, base) if (base / value).is_dir() else value
