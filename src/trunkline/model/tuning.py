"""A tuned trunk with the heads of its tasks, built anew or for the weights of a branch on disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trunkline.branches import Output, SideBranch, TrunkShape, methods
from trunkline.model.part import Part, build_branch
from trunkline.seeding import seeded
from trunkline.tasks import Task
from trunkline.trunk.load import Trunk
from trunkline.tuners import TunedTrunk
from trunkline.tuners.plain import PlainHead


def tune(
    trunk: Trunk,
    config: Any,
    tasks: Mapping[str, Task],
    precision: str,
    seed: int = 0,
    *,
    onto: TunedTrunk | None = None,
    pooler: bool = False,
    pretrained: bool = True,
) -> tuple[TunedTrunk, dict[str, Part]]:
    """Return a private copy of `trunk` as `config` changes it, and a part for each task that reads it.

    Args:
        trunk: in fp32.
        config: of a tuner, with its `head`.
        tasks: by name.
        precision: fp32 or bf16.
        seed: of the weights that are drawn.
        onto: a trunk that is changed already, which these tasks go on with.
        pooler: give the trunk its pooler even if none of these tasks needs it, as others will.
        pretrained: False where the weights come from a branch, so that a pooler's need not be looked for.

    Raises:
        BadInput: the tuner or its head does not fit the trunk.
    """
    heads: dict[str, SideBranch] = {}
    folder = trunk.folder if pretrained else None
    shape = TrunkShape(trunk.num_layers, trunk.hidden_size)
    for name, task in tasks.items():
        with seeded(seed, "weights", name):
            if config.head == "plain":
                heads[name] = PlainHead(trunk.model.config, Output(task.answers.level, task.outputs), folder, stack=trunk.stack)
            else:
                heads[name] = build_branch(config.head, shape, task)
    plain = [head for head in heads.values() if isinstance(head, PlainHead)]
    poolers: list[Any] = [head.pooler for head in plain if head.pooler is not None]
    if pooler and not poolers and onto is None:
        with seeded(seed, "pooler"):
            poolers = [PlainHead(trunk.model.config, Output("text", 1), folder, stack=trunk.stack).pooler]
    with seeded(seed, "tuner", *tasks):
        tuned = onto or TunedTrunk(trunk, methods.get(config.name)(config), precision, next(iter(poolers), None))
        for head in plain:
            head.bind(tuned.model)  # one pooler, the trunk's, for all of them
        return tuned, {name: Part(task, heads[name], task.criterion()) for name, task in tasks.items()}
