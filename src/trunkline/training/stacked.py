"""Runs of side branches that are trained together: each batch of layer states is read once, for all of them.

Runs whose configs differ only in the method, the seed of the weights and the keys of VARY can be stacked: they are members of
one loop (members.py). Every run has a directory of its own, with what `fit` would leave there of the same config, but for
rounding and the random draws of dropout.
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

from trunkline.branches.auto import AutoConfig
from trunkline.errors import BadInput, TrunklineError
from trunkline.events import AlreadyFinished, Publisher, RunEnded, Subscriber
from trunkline.files import write_text
from trunkline.model.approach import approach_of
from trunkline.model.frozen import FROZEN
from trunkline.trackers import trackers
from trunkline.training import rundir
from trunkline.training.config import RunConfig
from trunkline.training.cost import Cost, forget_peak
from trunkline.training.depth import drop_layers
from trunkline.training.fit import RunResult, finished
from trunkline.training.judging import Judged, judge
from trunkline.training.members import Member, Opened, loop_of, opened
from trunkline.training.run import Run
from trunkline.training.sampling import draw_batches
from trunkline.training.splitter import Splitter, State
from trunkline.training.train import Training
from trunkline.training.work import epoch_seconds

VARY = frozenset(
    "learning_rate weight_decay optimizer schedule warmup plateau_patience clip_norm patience seed".split()
)  # of `training`


def stack_key(config: RunConfig) -> str | None:
    """What configs that can be stacked have in common, as one hash; None where a config cannot be stacked.

    That is one whose method changes the trunk or is chosen in training, or whose tasks do not all read the same texts.
    """
    if approach_of(config.method).changes_trunk or isinstance(config.method, AutoConfig):
        return None
    if any(task.data is not None for task in config.tasks.values()):
        return None
    values = config.as_dict()
    training = values["training"] | {"data_seed": config.training.drawn_by}
    varied = VARY if config.data.rows is None else VARY - {"seed"}  # which draws these rows
    values["training"] = {key: value for key, value in training.items() if key not in varied}
    del values["method"], values["trackers"]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


@dataclass
class RunMember:
    """A run of a stack, to be trained with others."""

    run: Run
    training: Training
    member: Member

    @property
    def name(self) -> str:
        return self.member.name

    @property
    def failed(self) -> str | None:
        """Why it has no result."""
        found = self.member.failed
        return None if found is None else found.replace(self.member.key(""), "")  # the loop calls tasks so

    @property
    def state(self) -> State:
        """Whether it is to be trained further."""
        if self.failed:
            return "failed"
        return "stopped" if all(one.progress.stopped for one in self.member.learners.values()) else "training"

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
    forget_peak()
    told = Splitter(publish, {name: Publisher(own) for name, own in trackers_of.items()})
    base: Run | None = None
    members, found = list[RunMember](), dict[str, RunResult | TrunklineError]()
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


def member_of(base: Run, name: str, config: RunConfig, path: Path) -> RunMember:
    """A run of `config` on the splits and the trunk of `base`, to be trained with others."""
    run = base.varied(config)
    return RunMember(run, Training(run, path), Member(name, run.first[0], run.config.training.seed))


@contextmanager
def _ending(members: Sequence[RunMember], found: Mapping[str, Any]) -> Iterator[None]:
    """Publish for those members that the block leaves without a result that their runs have ended."""
    try:
        yield
    except BaseException as error:
        for member in members:
            if member.name not in found:
                member.ended("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
        raise


def train_members(
    base: Run, members: Sequence[RunMember], checkpoint: Path, found: dict[str, RunResult | TrunklineError]
) -> None:
    """Train all members and write the results of those that are not `found` yet."""
    own = [member.member for member in members]
    identity = hashlib.sha256("".join(member.run.identity for member in members).encode()).hexdigest()
    read = opened(base, own, checkpoint)
    shares = _shares(base, members, read)
    loop = loop_of(base, base.config, own, read, checkpoint, identity)
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
            spent = replace(cost, stacked=len(members), share=shares[member.name])
            found[member.name] = result = _kept(member, judged, depths, position.history, spent)
            member.ended("finished", result.summary)


def _shares(base: Run, members: Sequence[RunMember], read: Opened) -> dict[str, float]:
    """By name, the share of each member in what the steps of all of them cost."""
    parts = {key: part for member in members for key, part in member.member.parts().items()}
    batches = draw_batches(read.sources, base.config.training, 0)
    with base.clock.part("training"):
        costs = epoch_seconds(read.sources, batches, parts, base.accelerator.device, base.precision)
    whole = sum(costs.values())
    return {member.name: sum(costs[key] for key in member.member.parts()) / whole for member in members}


def _kept(
    member: RunMember,
    judged: Mapping[str, Judged],
    depths: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    spent: Cost,
) -> RunResult:
    """The result of a member, written."""
    own = member.member.own
    entries = [{**entry, "tasks": own(entry["tasks"])} for entry in history]
    cost = member.run.cost
    cost.epochs, cost.stacked, cost.share = spent.epochs, spent.stacked, spent.share
    cost.states_seconds, cost.states_bytes = spent.states_seconds, spent.states_bytes
    cost.seconds = spent.seconds
    cost.steps_to_best = own(spent.steps_to_best)
    record = member.training.keep(0, own(judged), FROZEN, own(depths), [entry for entry in entries if entry["tasks"]], cost)
    return RunResult(member.training.path, member.training.finish([record]))
