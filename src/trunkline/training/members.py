"""Side branches that are trained in one loop: each batch of layer states is read once, for all of them.

A member has learners of its own (optimiser, learning rate, stopping, best weights) and takes the batches that the others take.
What their branches have in common is computed once per batch (branches/group.py). In the loop, the task T of member M is called
"M/T".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from trunkline.events import Subscriber
from trunkline.model.frozen import FROZEN
from trunkline.model.part import Part
from trunkline.training.auto.halving import Halving
from trunkline.training.checkpoint import noted_states
from trunkline.training.config import RunConfig
from trunkline.training.cost import Cost
from trunkline.training.examples import examine, special_ids
from trunkline.training.feeds import Noted
from trunkline.training.learner import Learner
from trunkline.training.loop import Loop
from trunkline.training.moments import standardise
from trunkline.training.pooled import pooled_split
from trunkline.training.run import Run
from trunkline.training.sampling import SharedTexts, SplitFeed


@dataclass
class Member:
    """What is trained beside others.

    Attributes:
        name: that no other member has.
        learners: by task; side branches learn alone.
        seed: of what is drawn for these before they are trained.
    """

    name: str
    learners: dict[str, Learner]
    seed: int

    def key(self, task: str) -> str:
        """What a task of it is called in the loop."""
        return f"{self.name}/{task}"

    def parts(self) -> dict[str, Part]:
        """By what they are called in the loop."""
        return {self.key(task): next(iter(learner.parts.values())) for task, learner in self.learners.items()}

    def own(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """By task, what `values` have of those that are called so in the loop."""
        return {task: values[self.key(task)] for task in self.learners if self.key(task) in values}

    @property
    def failed(self) -> str | None:
        """Why it has no result, as a sentence; None where it has."""
        return next((learner.progress.failed for learner in self.learners.values() if learner.progress.failed), None)


class Opened(NamedTuple):
    """What members read: the texts with their layer states, where these come from, and what it cost to have them."""

    sources: list[SharedTexts]
    states: dict[str, Noted]
    cost: Cost


def opened(base: Run, members: Sequence[Member], checkpoint: Path, most: int | None = None) -> Opened:
    """Open what members read.

    Args:
        base: whose splits and trunk they read.
        members: whose learners nobody has trained.
        checkpoint: of their loop; where it exists, the states come from where they came from before.
        most: bytes of pooled states that are kept in memory, as of `pooled_split`.
    """
    branches = {key: part.branch for member in members for key, part in member.parts().items()}
    layers = {layer for branch in branches.values() for layer in branch.layers}
    found, noted = Opened([], {}, Cost()), noted_states(checkpoint)
    for group in base.groups:
        readers = [(member, task) for member in members for task in group.tasks if task in member.learners]
        if not readers:
            continue
        splits = []
        for split in (group.splits[name] for name in ("train", "validation")):
            place = f"{group.name}/{split.name}"
            with base.clock.part("states"):
                feed, found.states[place] = base.feeds.open(split, FROZEN, layers, found.cost, noted.get(place))
                supervision = split.supervision(group.tasks)  # one of each task, whatever members it has
                keyed = {member.key(task): supervision[task] for member, task in readers}
                fixed = {key: branches[key] for key in keyed} if found.states[place].states == "store" else {}
                splits.append(pooled_split(feed, keyed, fixed, most))
        found.sources.append(SharedTexts(*splits))
    return found


def loop_of(
    base: Run,
    config: RunConfig,
    members: Sequence[Member],
    read: Opened,
    checkpoint: Path,
    identity: str,
    *,
    halving: Halving | None = None,
    publish: Subscriber | None = None,
) -> Loop:
    """The training loop of members. A member whose loss is no longer a number leaves the others.

    Args:
        base: whose splits and trunk they read.
        config: what its training section says of batches, epochs and evaluations holds for all.
        members: what their branches ask for is measured, and the parts of their learners get their names in the loop.
        read: what `opened` has made for them.
        checkpoint: its directory; resumed from where it exists.
        identity: of all that the result depends on.
        halving: as of `Loop`.
        publish: told of what happens; that of `base` by default.
    """
    if not checkpoint.exists():  # which holds what was measured
        _measure(base, members, read.sources)
    for member in members:
        for task, learner in member.learners.items():
            learner.parts = {member.key(task): part for part in learner.parts.values()}
    return Loop(
        {member.key(task): learner for member in members for task, learner in member.learners.items()},
        read.sources,
        config.training,
        precision=base.precision,
        accelerator=base.accelerator,
        checkpoint=checkpoint,
        identity=identity,
        cost=read.cost,
        publish=publish or base.publish,
        states=read.states,
        clock=base.clock,
        keep_going=True,
        halving=halving,
    )


def _measure(base: Run, members: Sequence[Member], sources: Sequence[SharedTexts]) -> None:
    """Let the branches see what they ask for before they are trained."""
    special = special_ids(base.trunk.tokenizer)
    for member in members:
        own = [
            SharedTexts(_of_member(texts.train, member), _of_member(texts.validation, member))
            for texts in sources
            if member.own(texts.train.supervision)
        ]
        standardise(member.learners.values(), own, member.seed)
        with base.clock.part("training"):
            examine(member.learners.values(), own, member.seed, special, base.accelerator)


def _of_member(split: SplitFeed, member: Member) -> SplitFeed:
    """A split as a run of its own would have it, its tasks called by their names."""
    return replace(split, supervision=member.own(split.supervision), pooled=member.own(split.pooled))
