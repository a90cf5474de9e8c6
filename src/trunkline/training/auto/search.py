"""The search of `method: auto`: all candidates of all tasks in one loop, which successive halving thins out."""

from __future__ import annotations

import hashlib
import itertools
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trunkline.branches import Output, TrunkShape
from trunkline.errors import BadInput
from trunkline.events import (
    BatchEnded,
    CheckpointSaved,
    EvaluationProgress,
    Event,
    Finding,
    Resumed,
    RoundEnded,
    SearchStarted,
    StatesProgress,
    StatesStored,
)
from trunkline.training.auto.budget import Budget, Price, plan_search
from trunkline.training.auto.family import Candidate, family, reference
from trunkline.training.auto.finalists import Searched
from trunkline.training.auto.halving import Halving, Track
from trunkline.training.loop import Loop
from trunkline.training.members import Member, Opened, loop_of, opened
from trunkline.training.run import Run
from trunkline.training.sampling import draw_batches
from trunkline.training.stages import Stage
from trunkline.training.work import EVALUATION, SCORING, epoch_seconds, reading_seconds

POOLED_BYTES = 1 << 30  # of a split's pooled states in memory, which many candidates read
# What of its loop others hear.
TOLD = (BatchEnded, CheckpointSaved, EvaluationProgress, Finding, Resumed, StatesProgress, StatesStored)


@dataclass(frozen=True)
class Entrant:
    """A candidate for a task; `member` has the learner of that task alone."""

    task: str
    candidate: Candidate
    member: Member

    @property
    def key(self) -> str:
        return self.member.key(self.task)


def entrant(run: Run, task: str, candidate: Candidate, name: str | None = None) -> Entrant:
    """A candidate with fresh weights; its member is called as it is, or `name`. BadInput if it does not fit the trunk."""
    training = run.config.training.model_copy(update={"learning_rate": candidate.learning_rate})
    learners, _ = run.learners(Stage("", (task,), candidate.method), training=training)
    return Entrant(task, candidate, Member(name or candidate.name, learners, training.seed))


class Search:
    """The search of a run.

    Args:
        run: whose method is auto.
        checkpoint: its directory.
    """

    def __init__(self, run: Run, checkpoint: Path) -> None:
        self.run, self.checkpoint = run, checkpoint
        self.training = run.config.training.model_copy(update={"evaluate_every": "epoch"})
        self.entrants: dict[str, Entrant] = {}  # by what their tasks are called in the loop
        self.left_out: dict[str, dict[str, str]] = {task: {} for task in run.tasks}  # by name, why
        shape = TrunkShape(run.trunk.num_layers, run.trunk.hidden_size)
        for name, task in run.tasks.items():
            output = Output(task.answers.level, task.outputs, task.named_labels is None)
            for candidate in family(shape, output, self.training.learning_rate):
                try:
                    made = entrant(run, name, candidate)
                except BadInput as error:  # such as a side network without any width
                    self.left_out[name][candidate.name] = str(error)
                    continue
                self.entrants[made.key] = made

    def train(self) -> dict[str, Any]:
        """Search, from the checkpoint if there is one.

        Returns:
            dict: `seconds`; and for each of `tasks` its `metric`, the `steps` after which the rounds of linear and of deep
                candidates end, its `candidates`, those `left_out` and why, and the names of its `finalists`: the best of
                either kind, "linear" and "deep", and "deep 2" and so on, which the rest of the budget pays for: AdaLayers
                and the best deep ones, with each rate. Of those that were not compared, the rounds are 0 of 0.
        """
        began = time.monotonic()
        read = opened(self.run, [one.member for one in self.entrants.values()], self.checkpoint, POOLED_BYTES)
        steps, prices = self._prices(read)
        total = steps * self.training.epochs
        standard = {
            one.task: prices[one.task][key] for key, one in self.entrants.items() if one.candidate.method == reference()
        }
        budget = Budget(standard, self._reading(read), self.training.epochs, total)
        plan = plan_search(prices, budget)
        for key, why in plan.left_out.items():
            gone = self.entrants.pop(key)
            self.left_out[gone.task][gone.candidate.name] = why
        for track in plan.tracks:
            for key in track.names:
                self.entrants[key].member.learners[self.entrants[key].task].share = track.rounds[-1].last / total
        loop = loop_of(
            self.run,
            self.run.config.model_copy(update={"training": self.training}),
            [one.member for one in self.entrants.values()],
            read,
            self.checkpoint,
            hashlib.sha256("\n".join([self.run.identity, *self.entrants]).encode()).hexdigest(),
            halving=Halving(plan.tracks, lambda track, number, left: self._told(track, number, left, loop)),
            publish=self._passed,
        )
        prepared = time.monotonic() - began
        counts = {task: sum(one.task == task for one in self.entrants.values()) for task in self.run.tasks}
        self.run.publish(SearchStarted(counts, steps, self.training.epochs))
        position, _ = loop.run()
        costs = {key: price.epoch / standard[task].epoch for task, own in prices.items() for key, price in own.items()}
        found = {task: self._found(task, plan.tracks, costs, loop) for task in self.run.tasks}
        read_times = 1 + max(track.rounds[-1].last for track in plan.tracks) / budget.steps
        for task, own in found.items():
            searched = self._searched(task, plan.tracks, prices[task], loop)
            finalists = searched.finalists(budget, read_times, self.training.learning_rate)
            own["finalists"] = {kind: one.name for kind, one in finalists.items()}
            own["candidates"] += _only_trained(own["candidates"], finalists.values())
        return {"seconds": round(prepared + position.seconds, 2), "tasks": found}

    def _prices(self, read: Opened) -> tuple[int, dict[str, dict[str, Price]]]:
        """The steps of an epoch; and by task what each candidate costs, by what it is called in the loop."""
        batches = draw_batches(read.sources, self.training, 0)
        prices: dict[str, dict[str, Price]] = {task: {} for task in self.run.tasks}
        with self.run.clock.part("training"):
            for source in read.sources:
                parts = {key: one.member.parts()[key] for key, one in self.entrants.items() if key in source.train.supervision}
                epochs = epoch_seconds([source], batches, parts, self.run.accelerator.device, self.run.precision)
                splits = {"train": source.train, "validation": source.validation}
                tokens = {name: int(split.encoded.lengths.sum()) for name, split in splits.items()}
                for key, part in parts.items():
                    one, epoch = self.entrants[key], epochs[key]
                    scoring = SCORING[part.task.answers.level] * source.validation.encoded.n_texts
                    judged = epoch * EVALUATION * tokens["validation"] / tokens["train"] + scoring
                    prices[one.task][key] = Price(epoch, judged, one.candidate.linear)
        rounds = math.ceil(len(batches) / self.run.accelerator.num_processes)
        return math.ceil(rounds / self.training.accumulation), prices

    def _reading(self, read: Opened) -> float:
        """What the layer states of an epoch cost, whoever reads them."""
        tokens = sum(int(source.train.encoded.lengths.sum()) for source in read.sources)
        live, trunk = any(one.states == "live" for one in read.states.values()), self.run.trunk
        return reading_seconds(tokens, len(self.run.layers), trunk.hidden_size, live, trunk.num_layers)

    def _passed(self, event: Event) -> None:
        """Let others hear of the loop what is not about single candidates."""
        if isinstance(event, TOLD):
            self.run.publish(event)

    def _told(self, track: Track, number: int, left: Sequence[str], loop: Loop) -> None:
        names = tuple(self.entrants[key].candidate.name for key in left)
        count = sum(loop.learners[key].progress.rounds >= number - 1 for key in track.names)
        score = loop.learners[left[0]].progress.best_score if left else None
        self.run.publish(RoundEnded(track.task, track.kind, number, len(track.rounds), names, count, score))

    def _found(self, task: str, tracks: Sequence[Track], costs: Mapping[str, float], loop: Loop) -> dict[str, Any]:
        """What is known of the candidates of a task."""
        own = [track for track in tracks if track.task == task]
        metric = self.run.tasks[task].monitor
        rows = []
        for track in own:
            for key in track.names:
                candidate, learner = self.entrants[key].candidate, loop.learners[key]
                rows.append(
                    {
                        "name": candidate.name,
                        "method": candidate.method.model_dump(mode="json"),
                        "learning_rate": candidate.learning_rate,
                        "parameters": sum(p.numel() for p in learner.parameters()),
                        "cost": round(costs[key], 4),
                        "kind": track.kind,
                        "rounds": learner.progress.rounds,
                        "of": len(track.rounds),
                        "by_round": scores_by_round(key, track, metric, loop.position.history),
                        "validation": learner.progress.best_score,
                        **({} if learner.progress.failed is None else {"failed": learner.progress.failed}),
                    }
                )
        return {
            "metric": metric,
            "lower_is_better": not self.run.tasks[task].higher_is_better,
            "steps": {track.kind: [one.last for one in track.rounds] for track in own},
            "candidates": rows,
            "left_out": self.left_out[task],
        }

    def _searched(self, task: str, tracks: Sequence[Track], prices: Mapping[str, Price], loop: Loop) -> Searched:
        own = [track for track in tracks if track.task == task]
        keys = [key for track in own for key in track.names]
        candidates = {key: self.entrants[key].candidate for key in keys}
        return Searched(task, own, candidates, prices, {key: loop.learners[key] for key in keys})


def _only_trained(rows: Sequence[Mapping[str, Any]], finalists: Iterable[Candidate]) -> list[dict[str, Any]]:
    """Rows of finalists that were not compared: other rates of candidates that were, which may have failed at theirs."""
    known, found = {row["name"] for row in rows}, []
    for one in finalists:
        if one.name not in known:
            row = next(row for row in rows if row["method"] == one.method.model_dump(mode="json"))
            none = {"rounds": 0, "of": 0, "by_round": [], "validation": None}
            shared = {key: value for key, value in row.items() if key != "failed"}
            found.append({**shared, "name": one.name, "learning_rate": one.learning_rate, **none})
    return found


def scores_by_round(key: str, track: Track, metric: str, history: Sequence[Mapping[str, Any]]) -> list[float | None]:
    """The best validation score of a candidate up to the end of each round that it took part in."""
    best: dict[int, float | None] = {}
    for entry in history:
        if (found := entry["tasks"].get(key)) is not None and found["best"]:
            best[entry["step"]] = found["validation"].get(metric)
    judged = [entry["step"] for entry in history if key in entry["tasks"]]
    ends = [0, *(one.last for one in track.rounds)]
    return [
        [score for step, score in best.items() if step <= end][-1]
        for begin, end in itertools.pairwise(ends)
        if any(begin < step <= end for step in judged)
    ]
