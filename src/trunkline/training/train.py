"""A run trained stage by stage: scores on held-out data, and branches, records and result.json below its directory."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trunkline.allocator import give_back_freed_memory
from trunkline.events import BranchSaved, Finding, RunStarted, StagesKept, StageStarted, TaskFacts
from trunkline.files import directory_bytes, read_object, write_json
from trunkline.model.branch import Branch, load_branch, save_branch
from trunkline.model.frozen import FROZEN
from trunkline.model.part import Part
from trunkline.model.pass_cost import pass_cost
from trunkline.model.source import Source
from trunkline.model.trunk_ref import TrunkRef
from trunkline.training.agreement import wait_for_all
from trunkline.training.answered import save_answers
from trunkline.training.cost import Cost, peak_memory
from trunkline.training.decision import decision_findings
from trunkline.training.depth import drop_layers
from trunkline.training.environment import changes, environment
from trunkline.training.judging import Judged, judge
from trunkline.training.outcome import training_findings
from trunkline.training.prepare import named_splits, split_digest
from trunkline.training.report import complete
from trunkline.training.run import Run
from trunkline.training.rundir import drop_checkpoint, missing_branch
from trunkline.training.stages import Stage
from trunkline.training.transfer import transfer


class Training:
    """Trains a run stage by stage; a stage that was finished before is not trained again.

    Args:
        run: what is trained.
        path: its directory.
    """

    def __init__(self, run: Run, path: Path) -> None:
        self.run, self.path = run, path
        self.stages = run.plan(path)

    def train(self) -> dict[str, Any]:
        """Train every stage that is not done yet, write result.json and return what it holds."""
        self.tell()
        now = environment(self.run.accelerator)
        done = {stage.name: record for number, stage in enumerate(self.stages) if (record := self._done(number))}
        if done:
            self.run.publish(StagesKept(tuple(done), len(self.stages)))
        for record in done.values():
            if changed := changes(record.get("environment", {}), now, processes=True):
                self.run.publish(Finding(changed))
                break
        return self.finish([self._stage(number) for number in range(len(self.stages))])

    def finish(self, records: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """Write result.json and return what it holds; `records` are those of the stages, and `more` is added to it."""
        self.run.cost = Cost.total([Cost.from_dict(record["cost"]) for record in records])
        self.run.cost.peak_memory_bytes = max(self.run.cost.peak_memory_bytes, peak_memory(self.run.accelerator.device))
        summary = self._summary(records, environment(self.run.accelerator)) | more
        spent = self.run.clock.as_dict()
        self.run.cost.seconds, self.run.cost.parts = spent["seconds"], spent["parts"]
        summary["cost"] = self.run.cost.as_dict()
        summary["seconds"] = round(self.run.cost.seconds, 2)
        if self.run.accelerator.is_main_process:
            write_json(self.path / "result.json", summary)
            drop_checkpoint(self.path)
        return summary

    def _summary(self, records: list[dict[str, Any]], now: dict[str, Any]) -> dict[str, Any]:
        """What result.json holds, but for the cost: `records` are those of the stages, `now` is the environment."""
        stages = self.stages
        splits = named_splits(self.run.groups)
        tasks: dict[str, Any] = {}
        for stage, record in zip(stages, records, strict=True):
            tasks |= {name: dict(task) for name, task in record["tasks"].items()} if stage.final else {}
        with self.run.clock.part("judging"):
            remarks = complete(tasks, self.run.groups, self.run.data_facts)
        for sentence in remarks:
            self.run.publish(Finding(sentence))
        summary: dict[str, Any] = {
            "identity": self.run.identity,
            "run": str(self.path),
            "trunk": {"name": self.run.trunk.name, "dtype": self.run.trunk.dtype, "precision": self.run.precision},
            "rows": {name: len(split.corpus.texts) for name, split in splits.items()},
            "digests": {name: split_digest(split) for name, split in splits.items()},
            "environment": now,
            "findings": [
                *self.run.findings,
                *(
                    finding
                    for stage, record in zip(stages, records, strict=True)
                    for finding in self._told(stage, record["history"], record["tasks"])
                ),
                *remarks,
            ],
            "tasks": {name: tasks[name] for name in self.run.tasks},
            "history": [entry for record in records for entry in record["history"]],
        }
        if len(stages) > 1:
            kept = ("tasks", "history", "cost")
            summary["stages"] = [
                {"name": stage.name} | {key: record[key] for key in kept} for stage, record in zip(stages, records, strict=True)
            ]
        if self.run.config.training.regime == "sequential":
            summary["transfer"] = transfer(stages, [record["tasks"] for record in records], self.run.tasks)
        return summary

    def tell(self) -> None:
        """Publish what is known before training: tasks and their data, what is trained, and what was noticed."""
        facts = [
            TaskFacts(
                name,
                task.kind,
                task.monitor,
                None if task.named_labels is None else len(task.named_labels),
                None if (types := getattr(task, "types", None)) is None else len(types),
                task.positive,
                self.run.data_facts[name],
            )
            for name, task in self.run.tasks.items()
        ]
        names = tuple(stage.name for stage in self.stages if stage.name)
        run, trained = self.run, dict(self.run.cost.trained_parameters)
        run.publish(RunStarted(self.path, run.identity, run.config.as_dict(), tuple(facts), trained, names))
        for finding in run.findings:
            run.publish(Finding(finding))

    def _told(self, stage: Stage, history: list[dict[str, Any]], judged: Mapping[str, Any]) -> list[str]:
        """What there is to say of how the training of a stage went, and of what was fitted after it, as its record has it."""
        found = training_findings(history, {name: self.run.tasks[name] for name in stage.tasks})
        found += decision_findings({name: judged[name] for name in stage.tasks if name in judged})
        return [f"{stage.name}: {finding}" if stage.name else finding for finding in found]

    def _earlier(self, number: int) -> list[Stage]:
        """The stages of the same sequence before this one."""
        order = self.stages[number].order
        return [past for past in self.stages[:number] if order is not None and past.order == order]

    def _folder(self, stage: Stage) -> Path:
        return self.path / "stages" / stage.name

    def _places(self, number: int) -> dict[str, list[Path]]:
        """Where the branches of a stage are saved, by task; those of earlier tasks of a sequence only at its end."""
        stage, earlier = self.stages[number], self._earlier(number)
        last = stage.order is None or len(earlier) + 1 == len(self.run.tasks)
        places = {name: [self._folder(stage) / name] if stage.name else [] for name in stage.tasks}
        for name in (*stage.tasks, *(past.tasks[0] for past in earlier)):
            places.setdefault(name, []).extend([self.path / "branches" / name] if stage.final and last else [])
        return places

    def _done(self, number: int) -> dict[str, Any] | None:
        """The record of a stage, if this run has finished it before and its branches are still there."""
        file = self._folder(self.stages[number]) / "stage.json"
        if not self.stages[number].name or not file.exists():
            return None
        record = read_object(file)
        places = [place for several in self._places(number).values() for place in several]
        return record if record.get("identity") == self.run.identity and not any(map(missing_branch, places)) else None

    def _stage(self, number: int) -> dict[str, Any]:
        """Train one stage and keep its branches; return its record, which a run that was stopped finds again."""
        # Not held beside the learners of later stages, even if it is done already.
        first, self.run.first = self.run.first, ({}, FROZEN)
        if record := self._done(number):
            self.run.clock.resume(record.get("clock", {}))
            return record
        stage, earlier = self.stages[number], self._earlier(number)
        onto = None
        if stage.continues:  # from the disk even if it is at hand, so that a run that was stopped cannot differ
            onto = load_branch(self._folder(earlier[-1]) / earlier[-1].tasks[0], self.run.trunk).source
        learners, source = self.run.learners(stage, onto) if number else first
        del first
        cost = self.run.meter(learners) if number else self.run.cost
        if stage.name:
            self.run.publish(StageStarted(stage.name, stage.tasks, sum(cost.trained_parameters.values())))
        loop = self.run.loop_of(stage, learners, source, cost, self.path / "checkpoint" / stage.name)
        with source.while_training():
            position, cost = loop.run()
            after = time.monotonic()
            with self.run.clock.part("judging"):
                depths = drop_layers(learners.values(), loop.sources, self.run.accelerator, self.run.precision)
        parts = {name: part for learner in learners.values() for name, part in learner.parts.items()}
        for past in earlier:
            parts[past.tasks[0]] = self._head(self._folder(past) / past.tasks[0], source)
        with self.run.clock.part("judging"):
            judged = judge(parts, self.run.groups, stage.tasks, self.run.trunk, source, loop)
        give_back_freed_memory()
        cost.seconds = position.seconds + time.monotonic() - after
        record = self.keep(number, judged, source, depths, position.history, cost)
        wait_for_all(self.run.accelerator)
        return record

    def keep(
        self,
        number: int,
        judged: Mapping[str, Judged],
        source: Source,
        depths: Mapping[str, dict[str, Any]],
        history: list[dict[str, Any]],
        cost: Cost,
    ) -> dict[str, Any]:
        """Save the branches of a stage; return its record.

        Args:
            number: of the stage.
            judged: by task.
            source: what they read.
            depths: as `drop_layers` returned them.
            history: of the evaluations.
            cost: of the stage.
        """
        stage, folder = self.stages[number], self._folder(self.stages[number])
        tasks, saved = {}, self._places(number)
        for finding in self._told(stage, history, {}):
            self.run.publish(Finding(finding))
        for name, one in judged.items():
            part, metrics, places = one.part, one.metrics, saved[name]
            branch = self._branch(part, source, stage.method_of(name), metrics, cost)
            for place in places:
                if self.run.accelerator.is_main_process:
                    with self.run.clock.part("saving"):
                        save_branch(branch, place)
                    self.run.publish(BranchSaved(name, place, metrics))
                    if place.parent == folder:
                        cost.stages_bytes += directory_bytes(place)
                    else:
                        cost.disk_bytes[name] = directory_bytes(place)
                        if one.answers is not None:
                            save_answers(self.path, name, one.answers)
            tasks[name] = {
                "kind": part.task.kind,
                "method": stage.method_of(name).name,
                "monitor": part.task.monitor,
                **metrics,
                **({"tuned": one.tuned} if one.tuned else {}),
                **({"depth": depths[name]} if name in depths else {}),
                **({} if part.decision is None else {"decision": part.decision.model_dump(mode="json")}),
                "branch": str(places[-1]) if places else None,
                "layers": {str(layer): round(weight, 6) for layer, weight in branch.layer_weights().items()},
                "reads": list(part.branch.wanted()),
                "pass": pass_cost(part.branch.wanted(), branch.trunk.described()),
            }
            if by_layer := part.branch.by_layer():
                tasks[name]["by_layer"] = {what: {str(i): value for i, value in own.items()} for what, own in by_layer.items()}
            if attention := source.attention():
                tasks[name]["attention"] = {str(block): shares for block, shares in attention.items()}
        for finding in self._told(stage, [], tasks):
            self.run.publish(Finding(finding))
        record = {"identity": self.run.identity, "tasks": tasks, "history": history, "cost": cost.as_dict()}
        record["environment"] = environment(self.run.accelerator)
        record["clock"] = self.run.clock.as_dict()
        if stage.name and self.run.accelerator.is_main_process:
            write_json(folder / "stage.json", record)
            shutil.rmtree(self.path / "checkpoint" / stage.name, ignore_errors=True)
        return record

    def _head(self, path: Path, source: Source) -> Part:
        """The head of an earlier stage, to be judged on the trunk as it is now."""
        branch = load_branch(path, self.run.trunk)
        source.bind(branch.module)
        device = self.run.trunk.device
        return Part(branch.task, branch.module.to(device), branch.criterion.to(device), branch.decision)

    def _branch(self, part: Part, source: Source, method: Any, metrics: dict[str, Any], cost: Cost) -> Branch:
        name = part.task.name
        data = next(group.data for group in self.run.groups if name in group.tasks)
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
            part.task, method, part.branch.eval(), part.criterion.eval(), TrunkRef.of(self.run.trunk),
            self.run.max_length, self.run.precision, data.read, data.text_pair, metrics, spent, source=source,
            decision=part.decision,
        )  # fmt: skip
