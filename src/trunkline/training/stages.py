"""The stages of a run: which tasks are trained together, and on which trunk, as `training.regime` says.

Side branches leave their trunk alone, so any number of them is one stage. A tuner changes it: `separate` trains a changed
trunk for each task, `joint` one for all, `sequential` one that is passed from task to task, and `fusion` an adapter for
each task and then, for each task, a fusion of all of them (Pfeiffer et al. 2021, AdapterFusion).
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trunkline.errors import BadInput, unknown_name
from trunkline.files import NAME_BYTES
from trunkline.model.approach import approach_of
from trunkline.model.checking import validate_section
from trunkline.training.config import RunConfig
from trunkline.training.sections import TrainingSection


@dataclass(frozen=True)
class Stage:
    """One training within a run.

    Attributes:
        name: of its folder; empty for a run of one stage.
        tasks: those that learn in it.
        method: what they learn with.
        order: of a sequence, which of the orders it belongs to.
        continues: from the trunk of the stage before.
        final: whether its branches are results of the run.
        chosen: by task, what was chosen for it where `method` leaves that open.
    """

    name: str
    tasks: tuple[str, ...]
    method: Any
    order: int | None = None
    continues: bool = False
    final: bool = True
    chosen: Mapping[str, Any] = field(default_factory=dict)

    def method_of(self, task: str) -> Any:
        """What a task learns with."""
        return self.chosen.get(task, self.method)


def plan(config: RunConfig, run: Path, groups: list[tuple[str, ...]]) -> list[Stage]:
    """The stages of a run, in order.

    Args:
        config: resolved.
        run: the run's directory, where a later stage finds the branches of an earlier one.
        groups: the tasks, those together that share their texts.

    Raises:
        BadInput: the regime does not fit the method or the tasks.
    """
    training, method, tasks = config.training, config.method, tuple(config.tasks)
    regime, where = training.regime, "training.regime"
    if training.order is not None and regime != "sequential":
        raise BadInput(f"given, but training.regime is {regime}; expected it with sequential only", key="training.order")
    if training.mixing != "rows" and regime != "joint":
        raise BadInput(
            f"found {training.mixing}, but training.regime is {regime}; expected it with joint only", key="training.mixing"
        )
    # A resolved config has the default, so that cannot be told from nothing.
    if training.temperature != TrainingSection.model_fields["temperature"].default and training.mixing != "temperature":
        raise BadInput(
            f"given, but training.mixing is {training.mixing}; expected it with mixing: temperature only",
            key="training.temperature",
        )
    if training.loss_weights is not None and regime != "joint":
        raise BadInput(f"given, but training.regime is {regime}; expected them with joint only", key="training.loss_weights")
    if isinstance(weights := training.loss_weights, dict):
        for name in sorted(weights.keys() - set(tasks)):
            raise unknown_name("", name, tasks, key=f"training.loss_weights.{name}", whole=True)
        if not any(weights.get(name, 1) for name in tasks):
            raise BadInput("found 0 for every task, expected at least one positive weight", key="training.loss_weights")
    approach = approach_of(method)
    for key in ("gradient_checkpointing", "shard"):
        if getattr(training, key) and not approach.changes_trunk:
            raise BadInput(
                found="true",
                expected=f"false: {method.name} does not change the trunk, so no gradients are computed through it",
                key=f"training.{key}",
            )
    if regime not in approach.regimes:
        raise BadInput(f"found {regime}, but {method.name} does not change the trunk; expected separate, or a tuner", key=where)
    if regime == "joint":
        return [Stage("", tasks, method)]
    if regime == "sequential":
        every = list(itertools.permutations(tasks))
        return _sequence(every if training.order == "all" else [_order(training.order, tasks)], method)
    if regime == "fusion":
        if method.name != "adapter":
            raise BadInput(f"found fusion with method {method.name}, expected method adapter", key=where)
        if len(tasks) == 1:
            raise BadInput(
                "found fusion with one task, expected at least two; existing adapters are fused by method fusion",
                key=where,
            )
        from trunkline.tuners.fusion import FusionConfig, adapter_names  # here, as only this regime needs it

        adapter_names(tasks, "tasks")
        first = [Stage(f"adapter-{task}", (task,), method, final=False) for task in tasks]
        adapters = {task: str(run / "stages" / f"adapter-{task}" / task) for task in tasks}
        fusion = validate_section(
            FusionConfig, {"name": "fusion", "adapters": adapters, "head": method.head}, "config", "method"
        )
        return [*first, *(Stage(f"fusion-{task}", (task,), fusion) for task in tasks)]
    separate = approach.stages(groups)
    return [Stage(_joined(together) if len(separate) > 1 else "", together, method) for together in separate]


def _joined(tasks: tuple[str, ...]) -> str:
    """A stage's name that tells its tasks, as long as a folder's name may be."""
    name = "+".join(tasks)
    if len(name.encode()) <= NAME_BYTES:
        return name
    return f"{tasks[0]}+{len(tasks) - 1}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def may_be_stage(name: str, tasks: Collection[str]) -> bool:
    """Whether a stage of a run of these tasks may be called so, in one regime or another."""
    task = f"(?:{'|'.join(map(re.escape, tasks))})"
    alone = rf"(?:alone|adapter|fusion)-{task}|(?:order\d+-)?\d+-{task}"
    return bool(tasks) and re.fullmatch(rf"{alone}|{task}(?:\+{task})*|{task}\+\d+-[0-9a-f]{{8}}", name) is not None


def _order(order: list[str] | None, tasks: tuple[str, ...]) -> tuple[str, ...]:
    if order is None:
        return tasks
    if unknown := [name for name in order if name not in tasks]:
        raise BadInput(f"found {unknown[0]!r}, which is no task; expected the tasks {', '.join(tasks)}", key="training.order")
    if sorted(order) != sorted(tasks):
        raise BadInput(f"found {', '.join(order)}, expected each of {', '.join(tasks)} once", key="training.order")
    return tuple(order)


def _sequence(orders: list[tuple[str, ...]], method: Any) -> list[Stage]:
    """Every order's stages, after each task's training alone: what transfer is measured against."""
    alone = [Stage(f"alone-{task}", (task,), method, final=False) for task in orders[0]]
    stages = []
    for number, order in enumerate(orders):
        prefix = f"order{number + 1}-" if len(orders) > 1 else ""
        for place, task in enumerate(order, 1):
            name = f"{prefix}{place}-{task}"
            stages.append(Stage(name, (task,), method, order=number, continues=place > 1, final=number == 0))
    return [*alone[1:], *stages] if len(orders) == 1 else stages  # with all orders, each task comes first in one


def stage_alone(stages: list[Stage], task: str) -> Stage:
    """The stage in which `task` was trained on the untouched trunk."""
    return next(stage for stage in stages if stage.tasks == (task,) and not stage.continues)
