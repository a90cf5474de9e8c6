"""A task with the module that reads layer states for it: what is trained, evaluated, saved and loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from trunkline.branches import Output, SideBranch, TrunkShape, methods
from trunkline.model.decision import Decision
from trunkline.seeding import seeded
from trunkline.tasks import Criterion, Task


@dataclass(frozen=True)
class Part:
    """A task being learned: the module that reads layer states for it, and what turns its logits into a loss.

    decision (Decision | None): what is fitted once its weights are settled, for what logits become in answers.
    """

    task: Task
    branch: SideBranch
    criterion: Criterion
    decision: Decision | None = None


def make_part(task: Task, config: Any, trunk: TrunkShape, seed: int) -> Part:
    """A part with fresh weights, for the side branch that `config` describes."""
    # Seeded by the task's name too, so that a task starts the same whatever other tasks there are.
    with seeded(seed, "weights", task.name):
        return Part(task, build_branch(config, trunk, task), task.criterion())


def build_branch(config: Any, trunk: TrunkShape, task: Task) -> SideBranch:
    """The module that `config` (a method's Config) describes, for a trunk of this shape and this task's outputs."""
    return methods.get(config.name)(config, trunk, Output(task.answers.level, task.outputs, task.named_labels is None))


def named_weights(branch: nn.Module, criterion: nn.Module) -> dict[str, Tensor]:
    """The weights of a branch under the names they have on disk: `branch.*` and `criterion.*`."""
    return {
        **{f"branch.{name}": value for name, value in branch.state_dict().items()},
        **{f"criterion.{name}": value for name, value in criterion.state_dict().items()},
    }
