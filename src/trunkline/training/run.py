"""A run while it is under way: from a resolved config to trained branches, their scores on held-out data and their cost."""

from __future__ import annotations

import hashlib
import shutil
import time
from contextlib import nullcontext
from dataclasses import astuple
from functools import cached_property
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from trunkline.branches import TrunkShape
from trunkline.branches.heads import begin_at
from trunkline.errors import BadInput
from trunkline.events import BranchSaved, Finding, Preparing, RunStarted, StagesKept, StageStarted, Subscriber, TaskFacts, quiet
from trunkline.files import directory_bytes, read_object, write_json
from trunkline.model.approach import approach_of
from trunkline.model.branch import Branch, TrunkRef, load_branch, save_branch
from trunkline.model.frozen import FROZEN
from trunkline.model.part import Part
from trunkline.model.source import Source
from trunkline.training.agreement import agreed
from trunkline.training.allocator import give_back_freed_memory, keep_freed_memory
from trunkline.training.balance import Balance
from trunkline.training.checkpoint import noted_states
from trunkline.training.clock import Clock
from trunkline.training.config import RunConfig
from trunkline.training.cost import Cost, count_parameters, peak_memory
from trunkline.training.environment import changes, environment
from trunkline.training.feeds import Feeds
from trunkline.training.learner import Learner
from trunkline.training.loop import Loop
from trunkline.training.moments import standardise
from trunkline.training.outcome import training_findings
from trunkline.training.overview import data_facts
from trunkline.training.prepare import Prepared, data_digest, encode_splits, prepare, split_digest
from trunkline.training.report import complete
from trunkline.training.rundir import drop_checkpoint, missing_branch
from trunkline.training.sampling import SharedTexts, SplitFeed, with_batches
from trunkline.training.stages import Stage, plan
from trunkline.training.transfer import transfer
from trunkline.trunk.load import Trunk, load_trunk
from trunkline.trunk.machine import pick_device, pick_dtype
from trunkline.trunk.shared import shared_trunk


class Run:
    """One training with all that it needs: tasks and splits, the trunk, learners. Making it writes nothing.

    Args:
        config: resolved.
        publish: told of what happens.
        clock: what is counted from the beginning of the run.

    Raises:
        BadInput: the data, the trunk or the method cannot be used.
    """

    def __init__(self, config: RunConfig, publish: Subscriber, clock: Clock | None = None) -> None:
        self.clock = Clock() if clock is None else clock
        keep_freed_memory()
        self.config = config
        self.accelerator = Accelerator(cpu=config.trunk.device == "cpu")
        self.publish = publish if self.accelerator.is_main_process else quiet
        self.approach = approach_of(config.method)
        self.publish(Preparing("reading the data"))
        with self.clock.part("read"):
            self.groups = prepare(config)
        self.tasks = {name: group.tasks[name] for name in config.tasks for group in self.groups if name in group.tasks}
        stages = self.plan(Path())
        self.publish(Preparing(f"loading the trunk {config.trunk.name}"))
        with self.clock.part("load"):
            self.trunk = open_trunk(config, self.accelerator)
        self.max_length = config.trunk.max_length or self.trunk.max_length
        self.precision: str = config.training.precision
        if self.precision == "auto":
            self.precision = agreed(self.accelerator, lambda: self.approach.precision(self.trunk, config.trunk.dtype))
        texts = sum(len(split.corpus) for group in self.groups for split in group.splits.values())
        self.publish(Preparing(f"tokenizing {texts:,} texts"))
        with self.clock.part("read"):
            for group in self.groups:
                encode_splits(group, self.trunk, self.max_length)
        self.config = config = with_batches(config, self.groups)
        self.identity = run_identity(config, self.groups, self.trunk, self.precision)
        self.older_identity = run_identity(config, self.groups, self.trunk, self.precision, older=True)
        self.feeds = Feeds(config, self.trunk, self.accelerator, self.publish)
        # Made now, as what does not fit the trunk is to be found before anything is written.
        self.first = self._learners(stages[0])
        self.cost = self._count(self.first[0])
        parts = [part for learner in self.first[0].values() for part in learner.parts.values()]
        self.layers: list[int] = sorted(set().union(*(part.branch.layers for part in parts)))  # that some task may read
        if config.training.states == "store" and not self.first[1].stored(self.layers):
            method = config.method.name
            raise BadInput(
                found="store",
                expected=f"auto or live: {method} trains the first block too, so no states are the same in every epoch",
                key="training.states",
            )

    def _learners(self, stage: Stage, onto: Source | None = None) -> tuple[dict[str, Learner], Source]:
        """Learners with fresh weights for the tasks of a stage, and the source of the states that they read."""
        training, device = self.config.training, self.accelerator.device
        tasks = {name: self.tasks[name] for name in stage.tasks}
        shape = TrunkShape(self.trunk.num_layers, self.trunk.hidden_size)
        # A trunk that is passed from task to task has its pooler from the beginning.
        pools = stage.order is not None and any(task.answers.pooled for task in self.tasks.values())
        source, parts = self.approach.make(
            lambda: self.trunk, shape, stage.method, tasks, self.precision, training.seed, onto=onto, pooler=pools
        )
        self._begin(parts)
        balance = None if training.loss_weights is None else Balance(training.loss_weights, list(tasks))
        together = self.approach.optimised(parts)
        return {"+".join(own): Learner(own, training, device, source, balance) for own in together}, source

    def _begin(self, parts: dict[str, Part]) -> None:
        """Let fresh heads begin with the logits that their tasks ask for."""
        for group in self.groups:
            for name in group.tasks.keys() & parts.keys():
                first = parts[name].task.first_logits(group.splits["train"].targets[name])
                if first is not None:
                    begin_at(parts[name].branch, first)

    def _count(self, learners: dict[str, Learner]) -> Cost:
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

    def _tell(self, path: Path, stages: list[Stage]) -> None:
        facts = [
            TaskFacts(
                name,
                task.kind,
                task.monitor,
                None if task.named_labels is None else len(task.named_labels),
                None if (types := getattr(task, "types", None)) is None else len(types),
                task.positive,
                self.data_facts[name],
            )
            for name, task in self.tasks.items()
        ]
        names = tuple(stage.name for stage in stages if stage.name)
        trained = dict(self.cost.trained_parameters)
        self.publish(RunStarted(path, self.identity, self.config.as_dict(), tuple(facts), trained, names))
        for finding in self.findings:
            self.publish(Finding(finding))

    def _told(self, stage: Stage, history: list[dict[str, Any]]) -> list[str]:
        """What there is to say of how the training of a stage went."""
        found = training_findings(history, {name: self.tasks[name] for name in stage.tasks})
        return [f"{stage.name}: {finding}" if stage.name else finding for finding in found]

    def loop(self, path: Path) -> Loop:
        """The training loop of the first stage, with its checkpoint below `path`."""
        return self._loop(self.plan(path)[0], *self.first, self.cost, path / "checkpoint")

    def _loop(self, stage: Stage, learners: dict[str, Learner], source: Source, cost: Cost, checkpoint: Path) -> Loop:
        read = {layer for learner in learners.values() for part in learner.parts.values() for layer in part.branch.layers}
        noted, states, shared = noted_states(checkpoint), {}, []
        for group in self.groups:
            if tasks := {name: task for name, task in group.tasks.items() if name in stage.tasks}:
                splits, feeds = [group.splits[name] for name in ("train", "validation")], []
                for split in splits:
                    place = f"{group.name}/{split.name}"
                    with self.clock.part("states"):
                        feed, states[place] = self.feeds.open(split, source, read, cost, noted.get(place))
                    feeds.append(feed)
                shared.append(SharedTexts(*(SplitFeed(f, s.supervision(tasks)) for f, s in zip(feeds, splits, strict=True))))
        if not checkpoint.exists():  # which holds what was measured
            standardise(learners.values(), shared, self.config.training.seed)
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

    def train(self, path: Path) -> dict[str, Any]:
        """Train stage by stage, judge on the test split, save the branches below `path`; return what result.json holds."""
        stages = self.plan(path)
        self._tell(path, stages)
        if done := [stage.name for number, stage in enumerate(stages) if self._done(stage, stages[:number], path)]:
            self.publish(StagesKept(tuple(done), len(stages)))
        splits = {
            f"{group.name}/{name}" if len(self.groups) > 1 else name: split
            for group in self.groups
            for name, split in group.splits.items()
        }
        now = environment(self.accelerator)
        for record in filter(None, (self._done(stage, stages[:i], path) for i, stage in enumerate(stages))):
            if changed := changes(record.get("environment", {}), now, processes=True):
                self.publish(Finding(changed))
                break
        records = [self._stage(stage, stages[:number], path) for number, stage in enumerate(stages)]
        self.cost = Cost.total([Cost.from_dict(record["cost"]) for record in records])
        self.cost.peak_memory_bytes = max(self.cost.peak_memory_bytes, peak_memory(self.accelerator.device))
        tasks: dict[str, Any] = {}
        for stage, record in zip(stages, records, strict=True):
            tasks |= {name: dict(task) for name, task in record["tasks"].items()} if stage.final else {}
        with self.clock.part("judging"):
            remarks = complete(tasks, self.groups, self.data_facts)
        for sentence in remarks:
            self.publish(Finding(sentence))
        summary: dict[str, Any] = {
            "identity": self.identity,
            "run": str(path),
            "trunk": {"name": self.trunk.name, "dtype": self.trunk.dtype, "precision": self.precision},
            "rows": {name: len(split.corpus.texts) for name, split in splits.items()},
            "digests": {name: split_digest(split) for name, split in splits.items()},
            "environment": now,
            "findings": [
                *self.findings,
                *(
                    finding
                    for stage, record in zip(stages, records, strict=True)
                    for finding in self._told(stage, record["history"])
                ),
                *remarks,
            ],
            "tasks": {name: tasks[name] for name in self.tasks},
            "history": [entry for record in records for entry in record["history"]],
        }
        if len(stages) > 1:
            kept = ("tasks", "history", "cost")
            summary["stages"] = [
                {"name": stage.name} | {key: record[key] for key in kept} for stage, record in zip(stages, records, strict=True)
            ]
        if self.config.training.regime == "sequential":
            summary["transfer"] = transfer(stages, [record["tasks"] for record in records], self.tasks)
        spent = self.clock.as_dict()
        self.cost.seconds, self.cost.parts = spent["seconds"], spent["parts"]
        summary["cost"] = self.cost.as_dict()
        summary["seconds"] = round(self.cost.seconds, 2)
        if self.accelerator.is_main_process:
            write_json(path / "result.json", summary)
            drop_checkpoint(path)
        return summary

    def _earlier(self, stage: Stage, before: list[Stage]) -> list[Stage]:
        """The stages of the same sequence before this one."""
        return [past for past in before if past.order is not None and past.order == stage.order]

    def _places(self, stage: Stage, before: list[Stage], path: Path) -> dict[str, list[Path]]:
        """Where the branches of a stage are saved, by task; those of earlier tasks of a sequence only at its end."""
        earlier = self._earlier(stage, before)
        last = stage.order is None or len(earlier) + 1 == len(self.tasks)
        places = {name: [path / "stages" / stage.name / name] if stage.name else [] for name in stage.tasks}
        for name in (*stage.tasks, *(past.tasks[0] for past in earlier)):
            places.setdefault(name, []).extend([path / "branches" / name] if stage.final and last else [])
        return places

    def _done(self, stage: Stage, before: list[Stage], path: Path) -> dict[str, Any] | None:
        """The record of a stage, if this run has finished it before and its branches are still there."""
        file = path / "stages" / stage.name / "stage.json"
        if not stage.name or not file.exists():
            return None
        record = read_object(file)
        places = [place for several in self._places(stage, before, path).values() for place in several]
        return record if record.get("identity") == self.identity and not any(map(missing_branch, places)) else None

    def _stage(self, stage: Stage, before: list[Stage], path: Path) -> dict[str, Any]:
        """Train one stage and keep its branches; return its record, which a run that was stopped finds again."""
        first, self.first = self.first, ({}, FROZEN)  # not held beside the learners of later stages, even if it is done already
        if record := self._done(stage, before, path):
            self.clock.resume(record.get("clock", {}))
            return record
        folder = path / "stages" / stage.name
        earlier = self._earlier(stage, before)
        onto = None
        if stage.continues:  # from the disk even if it is at hand, so that a run that was stopped cannot differ
            onto = load_branch(path / "stages" / earlier[-1].name / earlier[-1].tasks[0], self.trunk).source
        learners, source = self._learners(stage, onto) if before else first
        del first
        cost = self._count(learners) if before else self.cost
        if stage.name:
            self.publish(StageStarted(stage.name, stage.tasks, sum(cost.trained_parameters.values())))
        loop = self._loop(stage, learners, source, cost, path / "checkpoint" / stage.name)
        with source.while_training():
            position, cost = loop.run()
        for finding in self._told(stage, position.history):
            self.publish(Finding(finding))
        after = time.monotonic()
        parts = {name: part for learner in learners.values() for name, part in learner.parts.items()}
        for past in earlier:
            parts[past.tasks[0]] = self._head(path / "stages" / past.name / past.tasks[0], source)
        with self.clock.part("judging"):
            metrics, tuned = self._judge(parts, stage.tasks, source, loop)
        give_back_freed_memory()
        cost.seconds = position.seconds + time.monotonic() - after
        tasks, saved = {}, self._places(stage, before, path)
        for name, part in parts.items():
            places = saved[name]
            branch = self._branch(part, source, stage.method, metrics[name], cost)
            for place in places:
                if self.accelerator.is_main_process:
                    with self.clock.part("saving"):
                        save_branch(branch, place)
                    self.publish(BranchSaved(name, place, metrics[name]))
                    if place.parent == folder:
                        cost.stages_bytes += directory_bytes(place)
                    else:
                        cost.disk_bytes[name] = directory_bytes(place)
            tasks[name] = {
                "kind": part.task.kind,
                "method": stage.method.name,
                "monitor": part.task.monitor,
                **metrics[name],
                **({"tuned": tuned[name]} if tuned.get(name) else {}),
                "branch": str(places[-1]) if places else None,
                "layers": {str(layer): round(weight, 6) for layer, weight in branch.layer_weights().items()},
                "reads": list(part.branch.wanted()),
            }
            if attention := source.attention():
                tasks[name]["attention"] = {str(block): shares for block, shares in attention.items()}
        record = {"identity": self.identity, "tasks": tasks, "history": position.history, "cost": cost.as_dict()}
        record["environment"] = environment(self.accelerator)
        record["clock"] = self.clock.as_dict()
        if stage.name and self.accelerator.is_main_process:
            write_json(folder / "stage.json", record)
            shutil.rmtree(path / "checkpoint" / stage.name, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        return record

    def _head(self, path: Path, source: Source) -> Part:
        """The head of an earlier stage, to be judged on the trunk as it is now."""
        branch = load_branch(path, self.trunk)
        source.bind(branch.module)
        return Part(branch.task, branch.module.to(self.trunk.device), branch.criterion.to(self.trunk.device))

    def _judge(
        self, parts: dict[str, Part], fresh: tuple[str, ...], source: Source, loop: Loop
    ) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
        """By task, metrics of the best weights on validation and, once, on test; and what was chosen on validation before that,
        for those that are `fresh`.
        """
        metrics: dict[str, dict[str, Any]] = {name: {} for name in parts}
        tuned: dict[str, dict[str, Any]] = {}
        for module in (source, *(module for part in parts.values() for module in (part.branch, part.criterion))):
            module.eval()
        places = [(group, name) for name in ("validation", "test") for group in self.groups if name in group.splits]
        for group, split_name in places:
            split, own = group.splits[split_name], {name: part for name, part in parts.items() if name in group.tasks}
            if not own:
                continue
            assert split.encoded is not None
            supervision = split.supervision({name: part.task for name, part in own.items()})
            validating = split_name == "validation"
            stored = None  # the test texts are read once, so storing would not pay
            if validating:
                stored = next(texts.validation.feed for texts in loop.sources if texts.validation.supervision.keys() & own)
            feed = source.judged(self.trunk, split.encoded, stored)
            with source.watch() if validating else nullcontext():
                logits = loop.logits(own, SplitFeed(feed, supervision))
            for name, part in own.items():
                if validating and name in fresh:
                    tuned[name] = part.task.tune(logits[name], supervision[name].targets)
                metrics[name][split_name] = supervision[name].score(part.criterion, logits[name])
        return metrics, tuned

    def _branch(self, part: Part, source: Source, method: Any, metrics: dict[str, Any], cost: Cost) -> Branch:
        name = part.task.name
        data = next(group.data for group in self.groups if name in group.tasks)
        source.release(part.branch)
        source.release(part.criterion)
        trained = next((count for tasks, count in cost.trained_parameters.items() if name in tasks.split("+")), 0)
        spent = {
            "trained_parameters": trained,
            "trunk_parameters": cost.trunk_parameters,
            "steps_to_best": cost.steps_to_best.get(name, 0),
            "seconds": round(cost.seconds, 2),
        }
        return Branch(
            part.task, method, part.branch.eval(), part.criterion.eval(), TrunkRef.of(self.trunk),
            self.max_length, self.precision, data.text, data.text_pair, metrics, spent, source=source,
        )  # fmt: skip


def open_trunk(config: RunConfig, accelerator: Accelerator) -> Trunk:
    """Load the config's trunk on the device that this process is to use, in the precision that its method needs."""
    section = config.trunk
    device = str(accelerator.device) if section.device == "auto" else section.device
    dtype: str = approach_of(config.method).trunk_dtype(section.dtype)
    if dtype == "auto":  # or each process would measure for itself
        dtype = agreed(accelerator, lambda: pick_dtype("auto", pick_device(device)))
    load = load_trunk if approach_of(config.method).changes_trunk else shared_trunk
    return load(section.name, revision=section.revision, stack=section.stack, dtype=dtype, device=device)


def run_identity(config: RunConfig, groups: list[Prepared], trunk: Trunk, precision: str, older: bool = False) -> str:
    """sha256 (hex) of all that the result depends on: config, data, trunk, and the precisions that `auto` stood for.

    With `older`, the one of runs that were finished before the settings of the trunk were part of its fingerprint.
    """
    found = trunk.fingerprint
    prints = (found.weights, found.tokenizer) if older else astuple(found)
    parts = [config.identity(older), data_digest(groups), *prints, trunk.dtype, precision]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()
