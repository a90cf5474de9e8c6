"""Training the runs of a unit into the folder of a study, in whatever process."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trunkline.errors import TrunklineError
from trunkline.events import Subscriber
from trunkline.files import read_object, write_json
from trunkline.studies.wording import of_study
from trunkline.training.config import RunConfig
from trunkline.training.fit import fit
from trunkline.training.rundir import missing_branch
from trunkline.training.stacked import fit_stacked


def place_of(study: Path, run: str) -> Path:
    """The folder of a run, by its key."""
    return study / "runs" / run


def result_of(study: Path, run: str) -> dict[str, Any] | None:
    """result.json of a run; None where it is not finished, or is another run's because the data have changed."""
    folder = place_of(study, run)
    if not (folder / "result.json").is_file():
        return None
    found = read_object(folder / "result.json")
    return None if any(missing_branch(folder / "branches" / name) for name in found["tasks"]) else found


def failure_file(study: Path, run: str) -> Path:
    """Where it is noted why a run has no result."""
    return study / "failed" / f"{run}.json"


def stack_file(study: Path, unit: str) -> Path:
    """Where it is noted which runs are trained together."""
    return study / "stacks" / f"{unit}.json"


def train_unit(study: Path, unit: str, configs: Mapping[str, RunConfig], stacked: bool, publish: Subscriber) -> None:
    """Train the runs of a unit, and note why one has no result. The caller holds the unit's lock.

    Args:
        study: the folder.
        unit: its key.
        configs: of its runs, by their keys.
        stacked: whether they are trained together.
        publish: told of what happens in the runs.
    """
    for key in configs:
        failure_file(study, key).unlink(missing_ok=True)
    try:
        outcomes: Mapping[str, Any]
        if stacked:
            places = {key: place_of(study, key) for key in configs}
            outcomes = fit_stacked(configs, places, study / "stacks" / unit, publish)
        else:
            [(key, config)] = configs.items()
            outcomes = {key: fit(config, run_dir=place_of(study, key), progress=False, subscribers=[publish])}
    except Exception as error:
        outcomes = {key: error for key in configs if result_of(study, key) is None}
    for key, outcome in outcomes.items():
        if isinstance(outcome, Exception):
            write_json(failure_file(study, key), {"reason": reason(outcome)})
    stack_file(study, unit).unlink(missing_ok=True)


@contextmanager
def locked(study: Path, key: str, wait: bool = False) -> Iterator[bool]:
    """Hold the lock of a unit, or of whatever else has a key; yield whether it was free, or once it is."""
    with open(study / "locks" / key, "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def reason(error: Exception) -> str:
    """Why a run failed, in a sentence. The words of other libraries' errors might hold a text."""
    if isinstance(error, TrunklineError):
        return str(of_study(error))
    return f"{type(error).__name__}{': out of memory' if 'out of memory' in str(error).lower() else ''}"
