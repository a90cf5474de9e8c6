"""What a run is made of, before anything of it is written: tasks and splits, the trunk, learners and their loops (train.py)."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import astuple, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from trunkline.allocator import keep_few_kernels, keep_freed_memory
from trunkline.branches import TrunkShape
from trunkline.branches.auto import AutoConfig
from trunkline.branches.heads import begin_at
from trunkline.errors import BadInput
from trunkline.events import Preparing, Subscriber, quiet
from trunkline.model.approach import approach_of
from trunkline.model.frozen import FROZEN
from trunkline.model.part import Part
from trunkline.model.source import Source
from trunkline.tasks import Task
from trunkline.training.agreement import agreed
from trunkline.training.balance import Balance
from trunkline.training.calibration import calibrate, ranges_of
from trunkline.training.checkpoint import noted_states
from trunkline.training.clock import Clock
from trunkline.training.config import RunConfig
from trunkline.training.cost import Cost, count_parameters
from trunkline.training.examples import examine, special_ids
from trunkline.training.feeds import Feeds
from trunkline.training.learner import Learner
from trunkline.training.loop import Loop
from trunkline.training.moments import standardise
from trunkline.training.overview import data_facts
from trunkline.training.pooled import pooled_split
from trunkline.training.prepare import Prepared, data_digest, encode_splits, prepare
from trunkline.training.sampling import SharedTexts, with_batches
from trunkline.training.sections import TrainingSection
from trunkline.training.stages import Stage, plan
from trunkline.trunk.fastest import pick_backend
from trunkline.trunk.load import Trunk, load_trunk, reads_audio
from trunkline.trunk.machine import pick_device, pick_dtype
from trunkline.trunk.shared import shared_trunk


class Run:
    """One training with all that it needs: tasks and splits, the trunk, learners. Making it writes nothing.

    Args:
        config: resolved.
        publish: told of what happens.
        clock: what is counted from the beginning of the run.
        groups: what `prepare` has made of the config, all of it or some; by default it is prepared now.

    Raises:
        BadInput: the data, the trunk or the method cannot be used.
    """

    def __init__(
        self, config: RunConfig, publish: Subscriber, clock: Clock | None = None, groups: list[Prepared] | None = None
    ) -> None:
        self.clock = Clock() if clock is None else clock
        keep_freed_memory()
        self.config = config
        self.accelerator = Accelerator(cpu=config.trunk.device == "cpu")
        self.publish = publish if self.accelerator.is_main_process else quiet
        self.approach = approach_of(config.method)
        self.publish(Preparing("reading the data"))
        with self.clock.part("read"):
            self.groups = prepare(config) if groups is None else groups
        self.tasks = {name: group.tasks[name] for name in config.tasks for group in self.groups if name in group.tasks}
        self.plan(Path())  # what does not fit the method or the tasks is found here
        self.publish(Preparing(f"loading the trunk {config.trunk.name}"))
        with self.clock.part("load"):
            self.trunk = open_trunk(config, self.accelerator)
        self.max_length = config.trunk.max_length or self.trunk.max_length
        self.precision: str = config.training.precision
        if self.precision == "auto":
            self.precision = agreed(self.accelerator, lambda: self.approach.precision(self.trunk, config.trunk.dtype))
        texts = sum(len(split.corpus) for group in self.groups for split in group.splits.values())
        self.publish(Preparing(f"reading {texts:,} clips" if self.trunk.reads == "audio" else f"tokenizing {texts:,} texts"))
        with self.clock.part("read"):
            for group in self.groups:
                encode_splits(group, self.trunk, self.max_length)
        if self.trunk.compiled is not None and self.trunk.compiled.calibrates:
            self.publish(Preparing("calibrating the trunk for int8"))
            with self.clock.part("load"):
                calibrate(self.trunk, self.groups, config.training.drawn_by)
        self._begin(config)

    def _begin(self, config: RunConfig) -> None:
        """Make what depends on the config, once its data and its trunk are there."""
        self.config = config = with_batches(config, self.groups)
        self.identity = run_identity(config, self.groups, self.trunk, self.precision)
        self.older_identity = run_identity(config, self.groups, self.trunk, self.precision, older=True)
        self.feeds = Feeds(config, self.trunk, self.accelerator, self.publish)
        # Made now, as what does not fit the trunk is to be found before anything is written.
        open_yet = isinstance(config.method, AutoConfig)  # it has learners once it has chosen
        self.first: tuple[dict[str, Learner], Source] = ({}, FROZEN) if open_yet else self.learners(self.plan(Path())[0])
        self.cost = self.meter(self.first[0])
        parts = [part for learner in self.first[0].values() for part in learner.parts.values()]
        self.layers: list[int] = sorted(set().union(*(part.branch.layers for part in parts)))  # that some task may read
        if open_yet:
            self.layers = list(range(self.trunk.num_layers + 1))
        if config.training.states == "store" and not self.first[1].stored(self.layers):
            method = config.method.name
            raise BadInput(
                found="store",
                expected=f"auto or live: {method} trains the first block too, so no states are the same in every epoch",
                key="training.states",
            )

    def on(self, groups: list[Prepared], seed: int) -> Run:
        """This run on other rows of its texts, which are encoded already, and with another seed: what it learns begins anew."""
        other = copy.copy(self)
        vars(other).pop("data_facts", None)
        other.groups = groups
        other.tasks = {name: group.tasks[name] for name in self.tasks for group in groups if name in group.tasks}
        training = self.config.training.model_copy(update={"seed": seed})
        other.config = self.config.model_copy(update={"training": training})
        return other

    def varied(self, config: RunConfig) -> Run:
        """A run of another config on the same splits and the same trunk, with learners of its own."""
        other = copy.copy(self)
        vars(other).pop("data_facts", None)
        other.groups = [replace(group, tasks={n: of_its_own(task) for n, task in group.tasks.items()}) for group in self.groups]
        other.tasks = {name: group.tasks[name] for name in self.tasks for group in other.groups if name in group.tasks}
        other.approach = approach_of(config.method)
        other._begin(config)
        return other

    def learners(
        self, stage: Stage, onto: Source | None = None, training: TrainingSection | None = None
    ) -> tuple[dict[str, Learner], Source]:
        """Learners with fresh weights for the tasks of a stage, and the source of the states that they read.

        Args:
            stage: the tasks, and the method.
            onto: the source that a stage before has left.
            training: of these learners; by default that of the config.
        """
        training, device = training or self.config.training, self.accelerator.device
        tasks = {name: of_its_own(self.tasks[name]) for name in stage.tasks}
        shape = TrunkShape(self.trunk.num_layers, self.trunk.hidden_size)
        # A trunk that is passed from task to task has its pooler from the beginning.
        pools = stage.order is not None and any(task.answers.pooled for task in self.tasks.values())
        source, parts = self.approach.make(
            lambda: self.trunk, shape, stage.method, tasks, self.precision, training.seed, onto=onto, pooler=pools
        )
        if training.gradient_checkpointing:
            source.recompute()
        if training.shard and self.accelerator.num_processes > 1:
            self._shard(source, parts)
        self._first_logits(parts)
        balance = None if training.loss_weights is None else Balance(training.loss_weights, list(tasks))
        together = self.approach.optimised(parts)
        return {"+".join(own): Learner(own, training, device, source, balance) for own in together}, source

    def _shard(self, source: Source, parts: dict[str, Part]) -> None:
        """Divide a source among the processes, which then make the same passes through it."""
        top = self.trunk.num_layers
        if any(max(part.branch.wanted()) < top for part in parts.values()):
            raise BadInput(found="true", expected=f"false: a head reads no layer up to {top}, the last", key="training.shard")
        if any(
            split.supervision(group.tasks)[n].answers.joined
            for group in self.groups
            for split in group.splits.values()
            for n in group.tasks
        ):
            raise BadInput(found="true", expected="false where the windows of a text are read together", key="training.shard")
        source.shard()
        for part in parts.values():
            source.bind(part.branch)

    def _first_logits(self, parts: dict[str, Part]) -> None:
        """Let fresh heads begin with the logits that their tasks ask for."""
        for group in self.groups:
            for name in group.tasks.keys() & parts.keys():
                first = parts[name].task.first_logits(group.splits["train"].targets[name])
                if first is not None:
                    begin_at(parts[name].branch, first)

    def meter(self, learners: dict[str, Learner]) -> Cost:
        """A fresh cost meter for a stage."""
        cost = Cost(trunk_parameters=count_parameters(self.trunk.model))
        for name, learner in learners.items():
            cost.trained_parameters[name] = sum(p.numel() for p in learner.parameters())
            cost.added_parameters[name] = learner.size() - learner.source.borrowed
        return cost

    def plan(self, path: Path) -> list[Stage]:
        """The stages of the run, with its directory at `path`."""
        return plan(self.config, path, [tuple(group.tasks) for group in self.groups])

    @cached_property
    def data_facts(self) -> dict[str, dict[str, Any]]:
        """By task, the rows that it is trained and judged on, and those of each label."""
        return {name: data_facts(self.tasks[name], group.splits) for group in self.groups for name in group.tasks}

    @property
    def findings(self) -> list[str]:
        """What was noticed about the data, a sentence each."""
        return [finding for group in self.groups for finding in group.findings]

    def loop(self, path: Path) -> Loop:
        """The training loop of the first stage, with its checkpoint below `path`."""
        return self.loop_of(self.plan(path)[0], *self.first, self.cost, path / "checkpoint")

    def loop_of(self, stage: Stage, learners: dict[str, Learner], source: Source, cost: Cost, checkpoint: Path) -> Loop:
        """The training loop of a stage, with its layer states opened, and its checkpoint in the directory `checkpoint`."""
        branches = {name: part.branch for learner in learners.values() for name, part in learner.parts.items()}
        read = {layer for branch in branches.values() for layer in branch.layers}
        noted, states, shared = noted_states(checkpoint), {}, []
        for group in self.groups:
            if tasks := {name: task for name, task in group.tasks.items() if name in stage.tasks}:
                feeds = []
                for split in (group.splits[name] for name in ("train", "validation")):
                    place = f"{group.name}/{split.name}"
                    with self.clock.part("states"):
                        feed, now = self.feeds.open(split, source, read, cost, noted.get(place))
                        states[place] = now
                        # A store's are the same in every epoch; those that a trunk computes anew need not be.
                        fixed = branches if source.trunk is None and now.states == "store" else {}
                        own = {name: branch for name, branch in fixed.items() if name in tasks}
                        feeds.append(pooled_split(feed, split.supervision(tasks), own))
                shared.append(SharedTexts(*feeds))
        if not checkpoint.exists():  # which holds what was measured
            standardise(learners.values(), shared, self.config.training.seed)
            with self.clock.part("training"):
                special = special_ids(self.trunk.tokenizer)
                examine(learners.values(), shared, self.config.training.seed, special, self.accelerator)
        return Loop(
            learners,
            shared,
            self.config.training,
            precision=self.precision,
            accelerator=self.accelerator,
            checkpoint=checkpoint,
            identity=self.identity,
            cost=cost,
            publish=self.publish,
            states=states,
            clock=self.clock,
        )


def of_its_own(task: Task) -> Task:
    """A task for one stage: what that chooses, such as a threshold, is not to change how another stage is judged."""
    own = copy.copy(task)
    own.learned = task.learned.model_copy()
    return own


def open_trunk(config: RunConfig, accelerator: Accelerator) -> Trunk:
    """Load the config's trunk on the device that this process is to use, in the precision that its method needs."""
    keep_few_kernels()  # before anything is computed
    section = config.trunk
    device = str(accelerator.device) if section.device == "auto" else section.device
    if section.backend not in ("auto", "torch") and approach_of(config.method).changes_trunk:
        raise BadInput(
            found=section.backend,
            expected=f"torch, as {config.method.name} changes the trunk, and a compiled one cannot be changed",
            key="trunk.backend",
        )
    wanted = "torch" if approach_of(config.method).changes_trunk else section.backend
    if wanted == "auto" and reads_audio(section.name, section.revision):
        wanted = "torch"  # backends compile what reads texts
    dtype: str = approach_of(config.method).trunk_dtype(section.dtype)
    # Agreed, or each process would measure for itself.
    backend, dtype = agreed(accelerator, lambda: pick_backend(wanted, dtype, pick_device(device)))
    if dtype == "auto" and backend == "torch":
        dtype = agreed(accelerator, lambda: pick_dtype("auto", pick_device(device)))
    load = load_trunk if approach_of(config.method).changes_trunk else shared_trunk
    trunk = load(
        section.name,
        revision=section.revision,
        stack=section.stack,
        dtype=dtype,
        device=device,
        backend=backend,
        ranges=None if section.calibration is None else ranges_of(section.calibration),
    )
    if trunk.reads == "audio" and approach_of(config.method).changes_trunk:
        raise BadInput(
            found=config.method.name,
            expected=f"a side branch, as the trunk {trunk.name} reads audio and tuners change what reads texts",
            key="method.name",
        )
    return trunk


def run_identity(config: RunConfig, groups: list[Prepared], trunk: Trunk, precision: str, older: bool = False) -> str:
    """sha256 (hex) of all that the result depends on: config, data, trunk, and the precisions that `auto` stood for.

    With `older`, the one of runs that were finished before the settings of the trunk were part of its fingerprint.
    """
    found = trunk.fingerprint
    prints = (found.weights, found.tokenizer) if older else astuple(found)
    parts = [config.identity(older), data_digest(groups), *prints, trunk.computed_in, precision]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()
