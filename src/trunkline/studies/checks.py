"""What is wrong with a study, found before anything of it is trained."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator

from trunkline.branches import Output, TrunkShape, methods
from trunkline.branches.auto import AutoConfig
from trunkline.errors import BadInput
from trunkline.model.approach import approach_of
from trunkline.model.checking import at
from trunkline.studies.config import ALL
from trunkline.studies.plan import Plan, PlannedRun
from trunkline.studies.readings import Readings
from trunkline.tasks import kinds
from trunkline.trackers import trackers
from trunkline.training.config import RunConfig
from trunkline.training.prepare import Prepared
from trunkline.training.run import open_trunk


def check(plan: Plan, readings: Readings | None = None) -> dict[str, list[Prepared]]:
    """Read the data of every size, and see whether every method fits its trunk.

    Args:
        plan: of the study.
        readings: keeps what is read; by default nothing is kept.

    Returns:
        dict: by size, the splits of the first seed.

    Raises:
        BadInput: the first thing that cannot be trained: a size larger than the data, a metric that a task does not have, a
            method that does not fit the trunk.
    """
    check_trackers(plan.searches()[0].config, plan.where)  # the same for all runs
    readings = Readings() if readings is None else readings
    sizes: dict[str, list[Prepared]] = {}
    shapes: dict[str, TrunkShape] = {}
    for run in plan.searches():
        config = run.config
        with _naming_size(plan, run), config.naming():
            groups = readings.of(config)
            sizes.setdefault(run.cell.size, groups)
            if not approach_of(config.method).changes_trunk and not isinstance(config.method, AutoConfig):
                fits(config, shape_of(config, shapes))
    return sizes


@contextmanager
def _naming_size(plan: Plan, run: PlannedRun) -> Iterator[None]:
    """Let an error about `data.rows`, where a size of the study has set that, name the size."""
    try:
        yield
    except BadInput as error:
        if error.key != "data.rows" or run.cell.size == ALL:
            raise
        raise BadInput(error.problem, found=error.found, expected=error.expected, **at(plan.where, "study.sizes")) from None


def check_trackers(config: RunConfig, where: str) -> None:
    """Raise BadInput for a tracker whose package is not installed."""
    for number, section in enumerate(config.trackers):
        try:
            trackers.get(section.name)(section)
        except BadInput as error:
            raise error.at(where, f"trackers.{number}.name") from None


def shape_of(config: RunConfig, known: dict[str, TrunkShape]) -> TrunkShape:
    """The shape of a config's trunk, which is opened unless its section is `known`."""
    section = json.dumps(config.as_dict()["trunk"])
    if section not in known:
        trunk = open_trunk(config, Accelerator(cpu=config.trunk.device == "cpu"))
        known[section] = TrunkShape(trunk.num_layers, trunk.hidden_size)
    return known[section]


def fits(config: RunConfig, shape: TrunkShape) -> None:
    """Raise BadInput where the branches of a config cannot be made for a trunk of this shape."""
    for task in config.tasks.values():
        level: Any = kinds.get(task.kind).answers.level
        with torch.device("meta"):
            methods.get(config.method.name)(config.method, shape, Output(level, 2))
