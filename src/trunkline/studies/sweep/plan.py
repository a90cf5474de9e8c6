"""A sweep, resolved and checked: which config each trial trains, by what it is judged, and what tells it from other sweeps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from pydantic import BaseModel

from trunkline.branches import TrunkShape
from trunkline.errors import BadInput
from trunkline.model.approach import approach_of
from trunkline.studies.checks import check_trackers, fits, shape_of
from trunkline.studies.config import put
from trunkline.studies.sweep.config import SweepConfig, refuse_unknown_tasks
from trunkline.studies.sweep.goal import Goal
from trunkline.studies.sweep.space import Label, Space
from trunkline.training.config import RunConfig, resolve
from trunkline.training.prepare import Prepared, prepare, split_digest
from trunkline.training.run import open_trunk
from trunkline.training.stages import Stage
from trunkline.training.stages import plan as stages_of

TRIALS = 20  # where the config does not say how many, and the space is no grid


class Plan:
    """What a sweep trains. Making it reads the data and opens the trunk, and writes nothing.

    Args:
        config: of the sweep.

    Attributes:
        space: that is searched.
        goal: by which trials are compared.
        grid: by key, the values of the grid; None for another sampler.
        trials: how many there are in all.
        evaluations: how many a trial has at most, where that is known before it is trained.
        seeds: with which the best one is trained again.
        fingerprint: sha256 (hex) of space, goal, data, trunk and all other keys of the config, wherever the files lie.
        findings: what was noticed about the data, a sentence each.

    Raises:
        BadInput: the first thing that cannot be searched or trained.
    """

    def __init__(self, config: SweepConfig) -> None:
        self.config, section = config, config.section
        self.space = Space(section.space, config.where, self.run)
        self.grid: dict[str, list[Label]] | None = self.space.grid() if section.sampler == "grid" else None
        size = TRIALS
        if self.grid is not None:
            size = 1
            for values in self.grid.values():
                size *= len(values)
        self.trials = size if section.trials is None else section.trials
        if self.grid is not None:
            self.trials = min(self.trials, size)
        ends = [self.run(settings) for settings in self.space.configs()]
        first = self.first = ends[0]
        refuse_unknown_tasks(section, first.tasks, config.where)
        check_trackers(first, config.where)
        for one in ends:
            self._refuse_stages(one)
        prepared = self._check(ends)
        self.goal = self._goal(prepared, first)
        by_epoch = all(one.training.evaluate_every == "epoch" for one in ends)
        self.evaluations = max(one.training.epochs for one in ends) if by_epoch else None
        seed = first.training.seed
        self.seeds = tuple(section.seeds) if isinstance(section.seeds, list) else tuple(range(seed, seed + section.seeds))
        self.fingerprint = self._fingerprint(first, prepared[0])
        self.findings = [finding for group in prepared[0] for finding in group.findings]

    def run(self, settings: Mapping[str, Any], seed: int | None = None) -> RunConfig:
        """The config of a run with these values, and with a test split if the sweep's config has one."""
        values, where = dict(self.config.values), self.config.where
        for key, value in settings.items():
            put(values, key, value, f"{where}: sweep.space")
        training = values.get("training")
        if training is None or isinstance(training, dict):
            training = dict(training or {})
            if training.get("data_seed") is None:
                training["data_seed"] = training.get("seed", 0)
            values["training"] = training | ({} if seed is None else {"seed": seed})
        try:
            return resolve(values, where, self.config.base, getattr(where, "overrides", ()))
        except BadInput as error:
            if any(key == error.key or error.key.startswith(f"{key}.") or key.startswith(f"{error.key}.") for key in settings):
                raise BadInput(str(_placed(error, f"{where}: sweep.space"))) from None
            raise

    def trial(self, settings: Mapping[str, Any]) -> RunConfig:
        """The config of a trial: without a test split; the rows that it would have are neither trained on nor judged."""
        config = self.run(settings)
        tasks = {name: _untested(task, task.data) for name, task in config.tasks.items()}
        return config.model_copy(update={"data": _hidden(config.data), "tasks": tasks})

    @property
    def tested(self) -> bool:
        """Whether some task has a test split."""
        return any((task.data or self.first.data).test is not None for task in self.first.tasks.values())

    def stages(self, config: RunConfig) -> list[Stage]:
        """What a run trains one after the other."""
        with config.naming():
            return stages_of(config, Path(), [tuple(config.tasks)])

    def _refuse_stages(self, config: RunConfig) -> None:
        stages = self.stages(config)
        if len(stages) > 1 and self.config.section.pruner != "none":
            raise BadInput(
                f"{self.config.where}: sweep.pruner: found {self.config.section.pruner}, expected none, as a run of regime "
                f"{config.training.regime} trains {len(stages)} stages one after the other and has no score before the last"
            )

    def _check(self, configs: list[RunConfig]) -> list[list[Prepared]]:
        """The data of each config that has others; BadInput where they or the trunk do not fit."""
        read: dict[str, list[Prepared]] = {}
        shapes: dict[str, TrunkShape] = {}
        for config in configs:
            with config.naming():
                key = json.dumps([config.data.model_dump(mode="json"), config.as_dict()["tasks"]])
                if key not in read:
                    read[key] = prepare(config)
                if not approach_of(config.method).changes_trunk:
                    fits(config, shape_of(config, shapes))
        return list(read.values())

    def _goal(self, prepared: list[list[Prepared]], first: RunConfig) -> Goal:
        weights = {name: self.config.section.weights.get(name, 1.0) for name in first.tasks}
        found = [{name: task.monitor for group in groups for name, task in group.tasks.items()} for groups in prepared]
        metrics = {name: found[0][name] for name in first.tasks}
        if any(other != metrics for other in found[1:]):
            raise BadInput(f"{self.config.where}: sweep.space: found values with which a task is judged by another metric")
        return Goal(metrics, weights)

    def _fingerprint(self, config: RunConfig, groups: list[Prepared]) -> str:
        values = config.as_dict()
        del values["trackers"]
        for key in ("name", "revision", "device", "backend", "calibration"):
            del values["trunk"][key]
        for section in (values["data"], *(task["data"] for task in values["tasks"].values() if task["data"] is not None)):
            for key in ("train", "validation", "test"):
                if not isinstance(section[key], float):  # a file, which may lie elsewhere on another machine
                    del section[key]
        trunk = open_trunk(config, Accelerator(cpu=config.trunk.device == "cpu"))
        digests = [split_digest(group.splits[name]) for group in groups for name in ("train", "validation")]
        parts = [values, astuple(trunk.fingerprint), digests, self.space.described(), self.goal.weights, self.goal.metrics]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _placed(error: BadInput, where: str) -> BadInput:
    placed = error.at(where)
    placed.where = where
    return placed


def _hidden(data: Any) -> Any:
    """A data section without its test split; a share stays apart from what is trained on."""
    drawn = data.test if isinstance(data.test, float) else data.set_aside
    return data.model_copy(update={"test": None, "set_aside": drawn})


def _untested(task: BaseModel, data: Any) -> BaseModel:
    return task if data is None else task.model_copy(update={"data": _hidden(data)})
