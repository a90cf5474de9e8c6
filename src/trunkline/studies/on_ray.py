"""Studies and sweeps on a Ray cluster: a unit of a study, or a trial of a sweep, is a task for a worker.

Workers write into the folder of the study, which lies on a disk that all machines share, under the same locks as other
processes that share the work. They are sent configs as JSON, and read the data themselves.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trunkline.cluster import Connected, error_facts
from trunkline.errors import BadInput, TrunklineError
from trunkline.events import Subscriber, quiet
from trunkline.studies.plan import Unit
from trunkline.studies.units import failure_file, locked, result_of, train_unit
from trunkline.training.config import RunConfig, resolve

if TYPE_CHECKING:
    from trunkline.studies.sweep.search import Sweep


class RayUnits:
    """Trains the units of a study on workers; an `Elsewhere` of study.py.

    Args:
        cluster: whose workers.
    """

    def __init__(self, cluster: Connected) -> None:
        self._cluster = cluster

    def __call__(self, study: Path, units: Sequence[Unit]) -> Iterator[Unit]:
        """Yield each unit when it is over."""
        place, threads = str(study.resolve()), self._cluster.threads
        for run in (run for unit in units for run in unit.runs):
            failure_file(study, run.key).unlink(missing_ok=True)  # of an earlier launch; it is tried again
        calls = ((place, unit.key, _configs(unit), unit.stacked, threads) for unit in units)
        for number, _ in self._cluster.map(train_on_worker, calls):
            yield units[number]


def _configs(unit: Unit) -> dict[str, Any]:
    if any(run.config.memory.tables for run in unit.runs):
        raise BadInput("found data in memory and the engine ray, expected files, which all machines can read")
    return {run.key: run.config.as_dict() for run in unit.runs}


def train_on_worker(study: str, unit: str, configs: Mapping[str, Any], stacked: bool, threads: int) -> dict[str, Any]:
    """Train a unit once its lock is free, unless another process has; runs on a worker.

    Args:
        study: the folder.
        unit: its key.
        configs: of its runs, by their keys, as JSON.
        stacked: whether they are trained together.
        threads: to compute with.

    Returns:
        dict: nothing, or of `error_facts` where the unit cannot be tried here; why a run fails is noted in the folder.
    """
    try:
        _train(Path(study), unit, configs, stacked, threads)
    except Exception as error:
        return error_facts(error)
    return {}


def _train(study: Path, unit: str, configs: Mapping[str, Any], stacked: bool, threads: int) -> None:
    _begin(study, threads)
    made: dict[str, RunConfig] = {}
    for key, values in configs.items():
        made[key] = resolve(dict(values))
        if made[key].identity()[:20] != key:
            raise TrunklineError("found another version of Trunkline on a worker, expected the same on all machines")
    with locked(study, unit, wait=True):
        if any(result_of(study, key) is None and not failure_file(study, key).is_file() for key in made):
            train_unit(study, unit, made, stacked, quiet)


def _begin(folder: Path, threads: int) -> None:
    import torch

    if not (folder / "locks").is_dir():
        raise BadInput(f"{folder}: is not found by a worker; expected a folder on a disk that all machines share")
    torch.set_num_threads(threads)


def search_on_ray(
    sweep: Sweep, config: str, overrides: Sequence[str], cluster: Connected, publish: Subscriber, say: Callable[[str], None]
) -> None:
    """Have workers run the trials that a sweep lacks, and train its best settings again; `Sweep.search` then finds both done.

    Args:
        sweep: made, so that its folder is marked.
        config, overrides: that it was made of; the file is read by workers.
        cluster: whose workers.
        publish: told of each trial when it is over.
        say: told in a sentence what is trained besides.
    """
    from trunkline.studies.sweep import trials
    from trunkline.studies.sweep.trials import TrialEnded
    from trunkline.studies.sweep.winner import best_configs

    left = max(0, sweep.plan.trials - len(trials.finished(sweep.study)))
    told = str(Path(config).resolve()), tuple(overrides), str(sweep.path.resolve()), os.getcwd(), cluster.threads
    for _, found in cluster.map(run_trial_on_worker, (told for _ in range(left))):
        if found["ended"] is not None:
            best = found["ended"].pop("best")
            publish(TrialEnded(**found["ended"], best=None if best is None else tuple(best)))
    configs = best_configs(sweep.plan, sweep.study)
    if configs:
        say("training the best settings again")
    place = str(sweep.path.resolve())
    calls = ((place, key, {key: one.as_dict()}, False, cluster.threads) for key, one in configs.items())
    for _ in cluster.map(train_on_worker, calls):
        pass


def run_trial_on_worker(config: str, overrides: tuple[str, ...], folder: str, base: str, threads: int) -> dict[str, Any]:
    """Run one trial of a sweep, if one is left; runs on a worker.

    Args:
        config, overrides: of the sweep.
        folder: that of the sweep.
        base: that overrides are relative to.
        threads: to compute with.

    Returns:
        dict: `ended`, what is told of the trial, or None; or of `error_facts`.
    """
    try:
        os.chdir(base)
        _begin(Path(folder), threads)
        ended = _sweep(config, tuple(overrides), folder).next_trial()
    except Exception as error:
        return error_facts(error)
    return {"ended": None if ended is None else {**asdict(ended), "settings": dict(ended.settings)}}


@lru_cache(1)
def _sweep(config: str, overrides: tuple[str, ...], folder: str) -> Sweep:
    from trunkline.studies.sweep.config import load_sweep
    from trunkline.studies.sweep.plan import Plan
    from trunkline.studies.sweep.search import Sweep

    return Sweep(Plan(load_sweep(config, list(overrides))), Path(folder))
