"""Runs of side branches that are trained together: each batch of layer states is read once, for all of them.

Runs whose configs differ only in the method, the seed of the weights and the keys of VARY can be stacked: they are members of
one loop (members.py). Every run has a directory of its own, with what `fit` would leave there of the same config, but for
rounding and the random draws of dropout.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trunkline.branches.auto import AutoConfig
from trunkline.errors import BadInput, TrunklineError
from trunkline.events import Finding, Subscriber
from trunkline.files import write_text
from trunkline.model.approach import approach_of
from trunkline.model.frozen import FROZEN
from trunkline.training import rundir
from trunkline.training.config import RunConfig
from trunkline.training.cost import Cost
from trunkline.training.depth import drop_layers
from trunkline.training.fit import RunResult, finished
from trunkline.training.judging import Judged, judge
from trunkline.training.members import Member, loop_of, opened
from trunkline.training.run import Run
from trunkline.training.train import Training

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
class _Stacked:
    """A run of a stack."""

    run: Run
    training: Training
    member: Member


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
    base: Run | None = None
    stacked, found = dict[str, _Stacked](), dict[str, RunResult | TrunklineError]()
    for name, config in configs.items():
        try:
            with config.naming():
                base = Run(config, publish) if base is None else base
                run = base.varied(config)
        except BadInput as error:  # a method that does not fit the trunk
            found[name] = error
            continue
        stacked[name] = _Stacked(run, Training(run, places[name]), Member(name, run.first[0], run.config.training.seed))
    if base is None or not stacked:
        return found
    with ExitStack() as held:
        for name, one in stacked.items():
            path = places[name]
            held.enter_context(rundir.claimed(path))
            rundir.tidy(path)
            if done := finished(path, one.run.identity, one.run.older_identity):
                found[name] = done
                continue
            rundir.check(path, one.run.identity)
            write_text(path / rundir.CONFIG, yaml.safe_dump(one.run.config.as_dict(), sort_keys=False, allow_unicode=True))
        if stacked.keys() - found.keys():
            _train(base, stacked, checkpoint, found)
    shutil.rmtree(checkpoint, ignore_errors=True)
    return {name: found[name] for name in configs}


def _train(base: Run, stacked: Mapping[str, _Stacked], checkpoint: Path, found: dict[str, RunResult | TrunklineError]) -> None:
    """Train all runs and write the results of those that are not `found` yet."""
    for finding in base.findings:
        base.publish(Finding(finding))
    members = [one.member for one in stacked.values()]
    identity = hashlib.sha256("".join(one.run.identity for one in stacked.values()).encode()).hexdigest()
    loop = loop_of(base, base.config, members, opened(base, members, checkpoint), checkpoint, identity)
    position, cost = loop.run()
    failed = {member.name: TrunklineError(member.failed) for member in members if member.failed}
    learners = {key: one for key, one in loop.learners.items() if one.progress.failed is None}
    with base.clock.part("judging"):
        depths = drop_layers(learners.values(), loop.sources, base.accelerator, base.precision)
        parts = {key: part for learner in learners.values() for key, part in learner.parts.items()}
        judged = judge(parts, base.groups, parts, base.trunk, FROZEN, loop)
    found |= failed
    for name, one in stacked.items():
        if name not in found:
            found[name] = _kept(one, judged, depths, position.history, cost, len(stacked))


def _kept(
    one: _Stacked,
    judged: Mapping[str, Judged],
    depths: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    spent: Cost,
    count: int,
) -> RunResult:
    """The result of a run, written."""
    own = one.member.own
    entries = [{**entry, "tasks": own(entry["tasks"])} for entry in history]
    cost = one.run.cost
    cost.epochs, cost.stacked = spent.epochs, count
    cost.states_seconds, cost.states_bytes = spent.states_seconds, spent.states_bytes
    cost.seconds = spent.seconds
    cost.steps_to_best = own(spent.steps_to_best)
    record = one.training.keep(0, own(judged), FROZEN, own(depths), [entry for entry in entries if entry["tasks"]], cost)
    return RunResult(one.training.path, one.training.finish([record]))
