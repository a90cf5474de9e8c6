"""`auto`: no branch, but the choice of one for each task, made while a run is trained."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from trunkline.branches.fold import BranchConfig, Output, TrunkShape, methods
from trunkline.errors import BadInput


class AutoConfig(BranchConfig):
    """`method: auto`."""

    LEARNING_RATE: ClassVar[float | None] = None  # each candidate has its own

    name: Literal["auto"] = "auto"


@methods.register("auto")
class Auto:
    """See the module's docstring. Whoever needs the branch itself is told that there is none."""

    Config: ClassVar[type[BranchConfig]] = AutoConfig

    def __init__(self, config: Any, trunk: TrunkShape, output: Output) -> None:
        raise no_branch()


def no_branch() -> BadInput:
    """The error where a branch is needed before a run has chosen one."""
    expected = "a method by name: auto chooses one while a run is trained, which the run's result.json names"
    return BadInput(found="auto", expected=expected, key="method.name")
