"""The two ways in which a method solves tasks with a pretrained trunk, and the one place that decides which it is.

*Feature-based* methods (side branches) read the layer states of a frozen trunk; *fine-tuning* methods (tuners) change a
private copy of it. The terms are those of Devlin et al. 2019 (BERT, section 1).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from trunkline.branches import Output, SideBranch, TrunkShape, methods
from trunkline.errors import BadInput
from trunkline.model.checking import at, named_section
from trunkline.model.frozen import FROZEN
from trunkline.model.part import Part, build_branch, make_part
from trunkline.model.source import Source
from trunkline.seeding import seeded
from trunkline.tasks import Task
from trunkline.trunk.load import Trunk
from trunkline.trunk.machine import pick_dtype
from trunkline.tuners import TunedTrunk, Tuner
from trunkline.tuners.plain import PlainHead


class Approach(ABC):
    """What differs between the two before there is a `Source`.

    Attributes:
        regimes: the values of `training.regime` that it knows.
        stores_ahead: whether all states that a fit reads can be stored before it.
        changes_trunk: whether a fit needs a trunk of its own, as it may set weights of it aside.
    """

    regimes: ClassVar[tuple[str, ...]]
    stores_ahead: ClassVar[bool]
    changes_trunk: ClassVar[bool]

    @abstractmethod
    def trunk_dtype(self, wanted: str) -> str:
        """The dtype that the trunk is loaded in, where the config asks for `wanted`."""

    @abstractmethod
    def precision(self, trunk: Trunk, wanted: str) -> str:
        """fp32 or bf16, in which the method computes on `trunk` where `training.precision` is auto."""

    @abstractmethod
    def stages(self, groups: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
        """The tasks that one stage trains, for each stage, where tasks are learned separately; groups share their texts."""

    @abstractmethod
    def optimised(self, parts: dict[str, Part]) -> list[dict[str, Part]]:
        """The parts of a stage that one optimiser trains together."""

    @abstractmethod
    def resolve_head(self, method: Any, where: str) -> None:
        """Check the section's `head`, in place."""

    @abstractmethod
    def make(
        self,
        open_trunk: Callable[[], Trunk],
        shape: TrunkShape,
        method: Any,
        tasks: Mapping[str, Task],
        precision: str,
        seed: int = 0,
        *,
        onto: Any = None,
        pooler: bool = False,
        pretrained: bool = True,
    ) -> tuple[Source, dict[str, Part]]:
        """A source and a part for each task, with fresh weights.

        Args:
            open_trunk: gives the trunk, in fp32 for a tuner; not called where the method needs none to be made.
            shape: of the trunk.
            method: the `method:` section.
            tasks: by name.
            precision: fp32 or bf16.
            seed: of the weights that are drawn.
            onto: the source that a stage before has left, which these tasks continue with.
            pooler: give a changed trunk its pooler even if none of these tasks needs it, as others will.
            pretrained: False where the weights come from a branch, so that a pooler's need not be looked for.

        Raises:
            BadInput: the method or its head does not fit the trunk.
        """


class FeatureBased(Approach):
    """Side branches: each task learns alone, on states that can be stored."""

    regimes = ("separate",)
    stores_ahead = True
    changes_trunk = False

    def trunk_dtype(self, wanted: str) -> str:
        return wanted

    def precision(self, trunk: Trunk, wanted: str) -> str:
        return "bf16" if trunk.dtype == "bf16" else "fp32"

    def stages(self, groups: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
        return groups

    def optimised(self, parts: dict[str, Part]) -> list[dict[str, Part]]:
        return [{name: part} for name, part in parts.items()]

    def resolve_head(self, method: Any, where: str) -> None:
        pass

    def make(
        self,
        open_trunk: Callable[[], Trunk],
        shape: TrunkShape,
        method: Any,
        tasks: Mapping[str, Task],
        precision: str,
        seed: int = 0,
        *,
        onto: Any = None,
        pooler: bool = False,
        pretrained: bool = True,
    ) -> tuple[Source, dict[str, Part]]:
        return FROZEN, {name: make_part(task, method, shape, seed) for name, task in tasks.items()}


class FineTuning(Approach):
    """Tuners: the tasks of a stage share a changed trunk, and so an optimiser. The trunk itself is held in fp32."""

    regimes = ("separate", "joint", "sequential", "fusion")
    stores_ahead = False
    changes_trunk = True

    def trunk_dtype(self, wanted: str) -> str:
        return "fp32"

    def precision(self, trunk: Trunk, wanted: str) -> str:
        return pick_dtype(wanted, trunk.device)  # what a frozen trunk would compute in

    def stages(self, groups: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
        return [(name,) for group in groups for name in group]

    def optimised(self, parts: dict[str, Part]) -> list[dict[str, Part]]:
        return [parts]

    def resolve_head(self, method: Any, where: str) -> None:
        head = method.head
        if head == "plain":
            return
        head = {"name": head} if isinstance(head, str) else head
        method.head = named_section(head, "name", methods, where, "method.head")
        if not issubclass(methods.get(method.head.name), SideBranch):
            found = f"the tuner {method.head.name}" if approach_of(method.head) is FINE_TUNING else method.head.name
            raise BadInput(found=found, expected="plain or a side branch", **at(where, "method.head"))

    def make(
        self,
        open_trunk: Callable[[], Trunk],
        shape: TrunkShape,
        method: Any,
        tasks: Mapping[str, Task],
        precision: str,
        seed: int = 0,
        *,
        onto: Any = None,
        pooler: bool = False,
        pretrained: bool = True,
    ) -> tuple[Source, dict[str, Part]]:
        trunk = open_trunk()
        heads: dict[str, SideBranch] = {}
        folder = trunk.folder if pretrained else None
        for name, task in tasks.items():
            with seeded(seed, "weights", name):
                if method.head == "plain":
                    output = Output(task.answers.level, task.outputs)
                    heads[name] = PlainHead(trunk.model.config, output, folder, stack=trunk.stack)
                else:
                    heads[name] = build_branch(method.head, shape, task)
        plain = [head for head in heads.values() if isinstance(head, PlainHead)]
        poolers: list[Any] = [head.pooler for head in plain if head.pooler is not None]
        if pooler and not poolers and onto is None and method.head == "plain":
            with seeded(seed, "pooler"):
                poolers = [PlainHead(trunk.model.config, Output("text", 1), folder, stack=trunk.stack).pooler]
        with seeded(seed, "tuner", *tasks):
            tuned = onto or TunedTrunk(trunk, methods.get(method.name)(method), precision, next(iter(poolers), None))
            for head in heads.values():
                tuned.bind(head)  # one pooler, the trunk's, for all of them
            return tuned, {name: Part(task, heads[name], task.criterion()) for name, task in tasks.items()}


FEATURE_BASED, FINE_TUNING = FeatureBased(), FineTuning()


def approach_of(method: Any) -> Approach:
    """The approach of the method that a `method:` section names. Nothing else asks whether a method changes its trunk."""
    return FINE_TUNING if issubclass(methods.get(method.name), Tuner) else FEATURE_BASED
