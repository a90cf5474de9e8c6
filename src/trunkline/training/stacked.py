"""Runs of side branches that are trained together: each batch of layer states is read once, for all of them.

Runs whose configs differ only in the method, the seed of the weights and the keys of VARY can be stacked. They take the same
batches in the same order; each has its own optimiser, learning rate, clipping, stopping and best weights. What their
branches have in common is computed once per batch (branches/group.py). Every run has a directory of its own, with what `fit`
would leave there of the same config, but for rounding and the random draws of dropout.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from trunkline.errors import BadInput, TrunklineError
from trunkline.events import AlreadyFinished, Publisher, RunEnded, Subscriber
from trunkline.files import write_text
from trunkline.model.approach import approach_of
from trunkline.model.frozen import FROZEN
from trunkline.trackers import trackers
from trunkline.training import rundir
from trunkline.training.checkpoint import noted_states
from trunkline.training.config import RunConfig
from trunkline.training.cost import Cost
from trunkline.training.depth import drop_layers
from trunkline.training.examples import examine, special_ids
from trunkline.training.fit import RunResult, finished
from trunkline.training.judging import Judged, judge
from trunkline.training.learner import Learner
from trunkline.training.loop import Loop
from trunkline.training.moments import standardise
from trunkline.training.pooled import pooled_split
from trunkline.training.run import Run
from trunkline.training.sampling import SharedTexts, SplitFeed
from trunkline.training.splitter import Splitter, State
from trunkline.training.train import Training

VARY = frozenset(
    "learning_rate weight_decay optimizer schedule warmup plateau_patience clip_norm patience seed".split()
)  # of `training`


def stack_key(config: RunConfig) -> str | None:
    """What configs that can be stacked have in common, as one hash; None where a config cannot be stacked.

    That is one whose method changes the trunk, or whose tasks do not all read the same texts.
    """
    if approach_of(config.method).changes_trunk or any(task.data is not None for task in config.tasks.values()):
        return None
    values = config.as_dict()
    training = values["training"] | {"data_seed": config.training.drawn_by}
    varied = VARY if config.data.rows is None else VARY - {"seed"}  # which draws these rows
    values["training"] = {key: value for key, value in training.items() if key not in varied}
    del values["method"], values["trackers"]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


@dataclass
class Member:
    """A run of a stack, to be trained with others; its tasks are called "NAME/TASK" in the loop."""

    name: str
    run: Run
    training: Training
    learners: dict[str, Learner]

    def key(self, task: str) -> str:
        return f"{self.name}/{task}"

    @property
    def failed(self) -> str | None:
        """Why it has no result."""
        found = next((learner.progress.failed for learner in self.learners.values() if learner.progress.failed), None)
        return None if found is None else found.replace(self.key(""), "")  # the loop calls tasks so

    @property
    def state(self) -> State:
        """Whether it is to be trained further."""
        if self.failed:
            return "failed"
        return "stopped" if all(learner.progress.stopped for learner in self.learners.values()) else "training"

    def ended(self, outcome: Literal["finished", "interrupted", "failed"], summary: Mapping[str, Any] | None = None) -> None:
        """Publish that the run has ended."""
        self.run.publish(RunEnded(self.training.path, outcome, summary))


def fit_stacked(
    configs: Mapping[str, RunConfig], places: Mapping[str, Path], checkpoint: Path, publish: Subscriber
) -> dict[str, RunResult | TrunklineError]:
    """Train runs together, each in a directory of its own; the same call resumes them where it was stopped.

    As rounding depends on what is stacked, all of them are trained again where one is not finished and no checkpoint is there.
    A run that is finished keeps its files.

    Args:
        configs: resolved, by a name that no other has; all of one `stack_key`.
        places: by the same names, the directories of the runs.
        checkpoint: directory for the checkpoint of all of them.
        publish: told of what happens; tasks are called "NAME/TASK".

    Returns:
        By name the result, or why there is none: a method that does not fit the trunk, a loss that was no longer a number.

    Raises:
        BadInput: a directory holds something else. Nothing was written.
        Interrupted: on SIGINT or SIGTERM, after saving.
    """
    first = next(iter(configs.values()))
    if stack_key(first) is None or len({stack_key(config) for config in configs.values()}) > 1:
        raise ValueError("expected configs of one stack key")
    trackers_of = {name: [trackers.get(one.name)(one) for one in config.trackers] for name, config in configs.items()}
    told = Splitter(publish, {name: Publisher(own) for name, own in trackers_of.items()})
    base: Run | None = None
    members, found = list[Member](), dict[str, RunResult | TrunklineError]()
    for name, config in configs.items():
        try:
            with config.naming():
                base = Run(config, told) if base is None else base
                members.append(member_of(base, name, config, places[name]))
        except BadInput as error:  # a method that does not fit the trunk
            found[name] = error
    if base is None or not members:
        return found
    with ExitStack() as held:
        for member in members:
            path, member.run.publish = places[member.name], told.of(member.name)
            held.enter_context(rundir.claimed(path))
            rundir.tidy(path)
            if done := finished(path, member.run.identity, member.run.older_identity):
                found[member.name] = done
                member.run.publish(AlreadyFinished(path))
                told.leave_out(member.name)
                continue
            rundir.check(path, member.run.identity)
            write_text(path / rundir.CONFIG, yaml.safe_dump(member.run.config.as_dict(), sort_keys=False, allow_unicode=True))
        if left := [member for member in members if member.name not in found]:
            with _ending(left, found):
                for member in left:
                    member.training.tell()
                by_name = {member.name: member for member in left}
                told.begin({name: one.run.config.training for name, one in by_name.items()}, lambda name: by_name[name].state)
                train_members(base, members, checkpoint, found)
    shutil.rmtree(checkpoint, ignore_errors=True)
    return {name: found[name] for name in configs}


def member_of(base: Run, name: str, config: RunConfig, path: Path) -> Member:
    """A run of `config` on the splits and the trunk of `base`, to be trained with others."""
    run = base.varied(config)
    return Member(name, run, Training(run, path), run.first[0])


@contextmanager
def _ending(members: Sequence[Member], found: Mapping[str, Any]) -> Iterator[None]:
    """Publish for those members that the block leaves without a result that their runs have ended."""
    try:
        yield
    except BaseException as error:
        for member in members:
            if member.name not in found:
                member.ended("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
        raise


def train_members(base: Run, members: Sequence[Member], checkpoint: Path, found: dict[str, RunResult | TrunklineError]) -> None:
    """Train all members and write the results of those that are not `found` yet."""
    loop = _loop(base, members, checkpoint)
    position, cost = loop.run()
    failed = {member.name: TrunklineError(member.failed) for member in members if member.failed}
    learners = {key: one for key, one in loop.learners.items() if one.progress.failed is None}
    with base.clock.part("judging"):
        depths = drop_layers(learners.values(), loop.sources, base.accelerator, base.precision)
        parts = {key: part for learner in learners.values() for key, part in learner.parts.items()}
        judged = judge(parts, base.groups, parts, base.trunk, FROZEN, loop)
    for member in members:
        if member.name in found:
            continue
        if member.name in failed:
            found[member.name] = failed[member.name]
            member.ended("failed")
        else:
            found[member.name] = result = _kept(member, judged, depths, position.history, cost, len(members))
            member.ended("finished", result.summary)


def _kept(
    member: Member,
    judged: Mapping[str, Judged],
    depths: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    spent: Cost,
    count: int,
) -> RunResult:
    """The result of a member, written."""
    tasks = list(member.run.tasks)

    def own(values: Mapping[str, Any]) -> dict[str, Any]:
        return {task: values[member.key(task)] for task in tasks if member.key(task) in values}

    entries = [{**entry, "tasks": own(entry["tasks"])} for entry in history]
    cost = member.run.cost
    cost.epochs, cost.stacked = spent.epochs, count
    cost.states_seconds, cost.states_bytes = spent.states_seconds, spent.states_bytes
    cost.seconds = spent.seconds
    cost.steps_to_best = own(spent.steps_to_best)
    record = member.training.keep(0, own(judged), FROZEN, own(depths), [entry for entry in entries if entry["tasks"]], cost)
    return RunResult(member.training.path, member.training.finish([record]))


def _loop(base: Run, members: Sequence[Member], checkpoint: Path) -> Loop:
    """The training loop of all members, with its layer states opened."""
    [group] = base.groups
    branches = {
        member.key(task): part.branch
        for member in members
        for learner in member.learners.values()
        for task, part in learner.parts.items()
    }
    layers = {layer for branch in branches.values() for layer in branch.layers}
    noted, states, cost = noted_states(checkpoint), {}, Cost()
    splits = []
    for split in (group.splits[name] for name in ("train", "validation")):
        place = f"{group.name}/{split.name}"
        with base.clock.part("states"):
            feed, states[place] = base.feeds.open(split, FROZEN, layers, cost, noted.get(place))
            supervision = split.supervision(group.tasks)  # one of each task, whatever runs it is in
            keyed = {member.key(task): one for member in members for task, one in supervision.items()}
            splits.append(pooled_split(feed, keyed, branches if states[place].states == "store" else {}))
    if not checkpoint.exists():  # which holds what was measured
        special = special_ids(base.trunk.tokenizer)
        for member in members:
            own, seed = (
                [SharedTexts(*(_of_member(split, member, group.tasks) for split in splits))],
                member.run.config.training.seed,
            )
            standardise(member.learners.values(), own, seed)
            with base.clock.part("training"):
                examine(member.learners.values(), own, seed, special, base.accelerator)
    learners = {}
    for member in members:
        for name, learner in member.learners.items():
            learner.parts = {member.key(task): part for task, part in learner.parts.items()}
            learners[member.key(name)] = learner
    identities = "".join(member.run.identity for member in members)
    return Loop(
        learners,
        [SharedTexts(*splits)],
        base.config.training,
        precision=base.precision,
        accelerator=base.accelerator,
        checkpoint=checkpoint,
        identity=hashlib.sha256(identities.encode()).hexdigest(),
        cost=cost,
        publish=base.publish,
        states=states,
        clock=base.clock,
        keep_going=True,
    )


def _of_member(split: SplitFeed, member: Member, tasks: Mapping[str, Any]) -> SplitFeed:
    """A split as a run of its own would have it, its tasks called by their names."""
    named = {task: member.key(task) for task in tasks}
    return replace(
        split,
        supervision={task: split.supervision[key] for task, key in named.items()},
        pooled={task: split.pooled[key] for task, key in named.items() if key in split.pooled},
    )
