"""The trials of a study: how one is seeded, which of them count, and those whose process has died."""

from __future__ import annotations

import datetime
import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from trunkline.events import Event
from trunkline.studies.sweep.storage import GRACE

if TYPE_CHECKING:
    import optuna

# Attributes of a trial: that its run has failed by its settings, and not for a process that was stopped; in which folder it is.
FAILED, FOLDER = "failed", "folder"


@dataclass(frozen=True)
class TrialStarted(Event):
    """A trial begins, with these settings by key of the config."""

    number: int
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class TrialEnded(Event):
    """A trial is over: `done` of `total` are. Its `value` is the score of a complete one, and the last one of a pruned one.

    `why` says why it has failed; `best` is the value and the number of the best trial so far.
    """

    number: int
    settings: Mapping[str, Any]
    state: Literal["complete", "pruned", "failed"]
    value: float | None
    seconds: float
    done: int
    total: int
    best: tuple[float, int] | None = None
    why: str | None = None


def sampler(name: Literal["tpe", "grid", "random"], seed: int, place: int, grid: Mapping[str, Any] | None) -> Any:
    """Optuna's sampler for one trial.

    Its seed is `numpy.random.SeedSequence([seed, place]).generate_state(1)[0]`, so that a sweep that was stopped goes on as it
    would have, and processes that share a sweep do not try the same. That of a grid, which only orders it, is `seed` itself.

    Args:
        place: of the trial among those that were not begun again.
        grid: by key, its values.
    """
    import optuna

    if name == "grid":
        assert grid is not None
        return optuna.samplers.GridSampler(grid, seed=seed)
    own = int(np.random.SeedSequence([seed, place]).generate_state(1)[0])
    return optuna.samplers.TPESampler(seed=own) if name == "tpe" else optuna.samplers.RandomSampler(seed=own)


def place_of(study: optuna.Study, number: int) -> int:
    """Which trial this is, if one that was begun again is not counted again."""
    trials = study.get_trials(deepcopy=False)
    first = next(iter(_earlier(trials[number])), number)
    return sum(trial.number < first and not _earlier(trial) for trial in trials)


def _earlier(trial: optuna.trial.FrozenTrial) -> list[int]:
    """The numbers that a trial had before it was begun again."""
    from optuna.storages import RetryHeartbeatStaleTrialCallback

    return RetryHeartbeatStaleTrialCallback.retry_history(trial)


def counted(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """All trials but those that were begun again since their process died or was stopped."""
    state = _states()
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state != state.FAIL or FAILED in trial.user_attrs]


def finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """The counted trials that are over."""
    return [trial for trial in counted(study) if trial.state.is_finished()]


def complete(study: optuna.Study, best_first: bool) -> list[optuna.trial.FrozenTrial]:
    """The trials that have a score, in their order or with the best first."""
    import optuna

    found = [trial for trial in counted(study) if trial.state == optuna.trial.TrialState.COMPLETE]
    if not best_first:
        return found
    sign = 1 if study.direction == optuna.study.StudyDirection.MINIMIZE else -1
    return sorted(found, key=lambda trial: (sign * (trial.value or 0.0), trial.number))


def begin_again(study: optuna.Study, number: int) -> None:
    """Fail a trial that was not finished, and enqueue it again with the same settings, unless another process has."""
    import optuna
    from optuna.storages import RetryHeartbeatStaleTrialCallback

    study.sampler = optuna.samplers.RandomSampler()  # that of a grid cannot be told of trials outside of `optimize`
    trials = study.get_trials()
    if any(number in _earlier(other) for other in trials):
        return
    trial = trials[number]
    if trial.state == optuna.trial.TrialState.RUNNING:
        try:
            study.tell(number, state=optuna.trial.TrialState.FAIL)
        except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
            return  # its end was told meanwhile
    elif trial.state != optuna.trial.TrialState.FAIL:
        return
    RetryHeartbeatStaleTrialCallback(inherit_intermediate_values=True)(study, trial)


def begin_dead_ones_again(study: optuna.Study, locks: Path, folder: str) -> None:
    """Begin the trials again whose process has died.

    One of this folder holds a lock as long as it lives; one of another machine has a sign of life in the storage; and one that
    is without settings for long died before it had either.

    Args:
        locks: of the trials of this folder, by number.
        folder: what tells this folder from others, as attribute of its trials.
    """
    import optuna

    state = _states()
    for trial in study.get_trials(deepcopy=False, states=(state.RUNNING,)):
        began = trial.datetime_start or datetime.datetime.now()
        long = (datetime.datetime.now() - began).total_seconds() > GRACE
        own = trial.user_attrs.get(FOLDER) == folder
        if (own and is_free(locks / str(trial.number))) or (not trial.params and long):
            begin_again(study, trial.number)
    optuna.storages.fail_stale_trials(study)


def _states() -> Any:
    import optuna

    return optuna.trial.TrialState


@contextmanager
def held(file: Path) -> Iterator[None]:
    """Hold a lock, waiting for it."""
    with open(file, "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_free(file: Path) -> bool:
    """Whether a lock was held by a process that has died."""
    try:
        with open(file) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
