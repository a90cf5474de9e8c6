"""What was told of a run, told again to a tracker, and the numbers that it is to have logged, read from result.json."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from trunkline.events import EpochEnded, Event, RunEnded, RunStarted
from trunkline.trackers import trackers
from trunkline.training.fit import fit


def needs(package: str, extra: str) -> pytest.MarkDecorator:
    """Skip where a package is not installed, and import none while tests are collected, as some take seconds."""
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{package} is not installed: pip install 'trunkline[{extra}]'")


@dataclass
class Told:
    values: dict[str, Any]  # the config
    path: Path
    events: list[Event]
    summary: dict[str, Any]

    def moved(self, path: Path) -> Told:
        placed = (RunStarted, RunEnded)
        events = [dataclasses.replace(event, path=path) if isinstance(event, placed) else event for event in self.events]
        return dataclasses.replace(self, path=path, events=events)

    def texts(self) -> set[str]:
        """The texts that it was trained and judged on."""
        rows = Path(self.values["data"]["train"]).read_text(encoding="utf-8").splitlines()
        return {json.loads(row)["text"] for row in rows}

    def until_epoch(self, epoch: int) -> list[Event]:
        """What was told up to the end of an epoch, as of a run that was killed then."""
        ends = [place for place, event in enumerate(self.events) if isinstance(event, EpochEnded) and event.epoch == epoch]
        return self.events[: ends[0] + 1]

    def interrupted(self) -> list[Event]:
        """The same of a run that was interrupted after its first epoch."""
        return [*self.until_epoch(1), RunEnded(self.path, "interrupted")]


def tracker(name: str, **settings: Any) -> Any:
    """A tracker as a config makes it."""
    kind = trackers.get(name)
    return kind(kind.Config(name=name, **settings))


def tell(subscriber: Any, events: Iterable[Event]) -> None:
    for event in events:
        subscriber(event)


def evaluated(summary: dict[str, Any]) -> dict[str, dict[int, float]]:
    """By name and step, the numbers of the evaluations in result.json."""
    found: dict[str, dict[int, float]] = {}
    for entry in summary["history"]:
        for task, judged in entry["tasks"].items():
            numbers = {f"train/{task}/loss": judged["train_loss"]}
            for metric, value in judged["validation"].items():
                numbers[f"validation/{task}/{metric}"] = value
            for layer, share in judged["layers"].items():
                numbers[f"layers/{task}/{layer.zfill(2)}"] = share
            for name, value in numbers.items():
                if value is not None:
                    found.setdefault(name, {})[entry["step"]] = value
    return found


def of_test(summary: dict[str, Any]) -> dict[str, float]:
    """By name, the final numbers on test in result.json."""
    return {
        f"final/test/{task}/{metric}": value
        for task, judged in summary["tasks"].items()
        for metric, value in judged["test"].items()
        if isinstance(value, float)
    }


def bytes_below(folder: Path) -> bytes:
    """All that lies in the files of a folder, and their names."""
    return b"\n".join(str(file).encode() + file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file())


class Stopped(BaseException):
    pass


def stopped_after(told: Told, epoch: int, run: Path, **more: Any) -> None:
    """Train what `told` has as its config until an epoch has ended, and stop without warning."""

    def stop(event: Event) -> None:
        if isinstance(event, EpochEnded) and event.epoch == epoch:
            raise Stopped

    try:
        fit({**told.values, **more}, run_dir=run, subscribers=[stop], progress=False)
    except Stopped:
        return
    raise AssertionError("it was not stopped")
