"""The training loop: batches, steps, evaluations and checkpoints, for any number of tasks.

Tasks on the same texts share a `SharedTexts`: its batches and its layer states. Several sources are trained in turn, batch by
batch, when their tasks are learned jointly.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from trunkline.allocator import give_back_freed_memory
from trunkline.errors import TrunklineError
from trunkline.events import BatchEnded, EpochEnded, Evaluated, EvaluationProgress, Subscriber, TimeEstimated, TrainingStarted
from trunkline.model.part import Part
from trunkline.seeding import seeded
from trunkline.training.agreement import anywhere
from trunkline.training.auto.halving import Halving
from trunkline.training.checkpoint import Position
from trunkline.training.clock import Clock
from trunkline.training.cost import Cost
from trunkline.training.estimate import Estimate
from trunkline.training.feeds import Noted
from trunkline.training.forward import batch_losses, split_logits, split_scores
from trunkline.training.learner import Learner
from trunkline.training.resumable import REMEDY, Resumable
from trunkline.training.sampling import Batch, SharedTexts, SplitFeed, draw_batches
from trunkline.training.sections import TrainingSection


class Loop:
    """Trains `learners` on `sources`.

    Args:
        learners: by name; no task has two.
        sources: where the learners' tasks find their texts.
        training: the `training:` section.
        precision: fp32 or bf16, of the side branches.
        accelerator: gives the device and joins several processes.
        checkpoint: directory of the checkpoint; resumed from where it exists.
        identity: sha256 of all that the result depends on; a checkpoint with another one is refused.
        cost: the meter to fill.
        publish: told of every batch, epoch, evaluation and checkpoint.
        states: where the states of each split come from, for the checkpoint.
        clock: of the run.
        keep_going: a learner whose loss is no longer a number stops and has `failed`; the others continue.
        halving: stops learners that others are better than.
    """

    def __init__(
        self,
        learners: dict[str, Learner],
        sources: list[SharedTexts],
        training: TrainingSection,
        *,
        precision: str,
        accelerator: Accelerator,
        checkpoint: Path,
        identity: str,
        cost: Cost,
        publish: Subscriber,
        states: dict[str, Noted] | None = None,
        clock: Clock | None = None,
        keep_going: bool = False,
        halving: Halving | None = None,
    ) -> None:
        self.learners, self.sources, self.training = learners, sources, training
        self.precision, self.accelerator, self.device = precision, accelerator, accelerator.device
        self.cost, self.clock = cost, Clock() if clock is None else clock
        self.sharded = any(learner.sharded for learner in learners.values())
        self.resumable = Resumable(
            learners,
            "run",
            accelerator=accelerator,
            checkpoint=checkpoint,
            identity=identity,
            publish=publish,
            noted=states or {},
            clock=self.clock,
            divided=self.sharded,
        )
        self.publish = self.resumable.publish
        self.position = Position(environment=self.resumable.environment)
        self.keep_going, self.halving = keep_going, halving
        self._estimate = Estimate(0, 0.0)

    def run(self) -> tuple[Position, Cost]:
        """Train to the end, from the checkpoint if there is one; the learners then hold their best weights.

        Raises:
            BadInput: the checkpoint is of another run, or of a launch of another number of processes.
            Interrupted: on SIGINT or SIGTERM, after saving.
            StopRun: a subscriber has raised it.
            TrunklineError: the loss of a task is no longer a number; the last good checkpoint stays.
        """
        if found := self.resumable.resume():
            self.position, self.cost = found
        self._announce()
        with self.resumable.running(self.position):
            while self.position.epoch < self.training.epochs and self.active():
                self.epoch()
        self.resumable.look(self.position, self.cost)  # what was asked since the last look, of which nobody else will hear
        for learner in self.learners.values():
            if learner.progress.failed is None:
                learner.settle()
        give_back_freed_memory()
        self.cost.steps_to_best = {
            name: learner.progress.best_step for learner in self.learners.values() for name in learner.parts
        }
        self.position.seconds = self.resumable.seconds()
        return self.position, self.cost

    def _announce(self) -> None:
        """Publish how many steps there are, and prepare to estimate how long they take."""
        training, position, world = self.training, self.position, self.accelerator.num_processes
        batches = self.batches(0)
        rounds = math.ceil(len(batches) / world)
        steps = math.ceil(rounds / training.accumulation)
        trained = sum(int(batch.source.train.encoded.lengths[batch.sequences].sum()) for batch in batches)
        judged = sum(int(source.validation.encoded.lengths.sum()) for source in self.sources)
        each, many = training.evaluate_every, training.epochs
        judged *= 1 if each == "epoch" else steps // each
        left = rounds * (many - position.epoch) - position.batch
        self._estimate = Estimate(left, judged / max(trained, 1))
        varying = many > 1 and training.batch_tokens is not None
        self.publish(TrainingStarted(steps, many, training.stops_after(steps), varying))

    def active(self) -> dict[str, Learner]:
        """The learners that have not stopped."""
        return {name: learner for name, learner in self.learners.items() if not learner.progress.stopped}

    def parts(self) -> dict[str, Part]:
        """By name, the tasks of the learners that have not stopped."""
        return {name: part for learner in self.active().values() for name, part in learner.parts.items()}

    def batches(self, epoch: int) -> list[Batch]:
        """The batches of `epoch`; they depend on the seed and the epoch alone."""
        return draw_batches(self.sources, self.training, epoch)

    def epoch(self) -> None:
        """Train to the end of the epoch under way, with the evaluations and checkpoints that fall into it."""
        position, training, world = self.position, self.training, self.accelerator.num_processes
        batches = self.batches(position.epoch)
        rounds = math.ceil(len(batches) / world)  # a round: one batch for each process
        tally, saved = position.opened_epoch(), time.monotonic()
        for learner in self.learners.values():
            learner.train()
        while position.batch < rounds:
            began = time.monotonic()
            start = position.batch // training.accumulation * training.accumulation  # first batch of this step
            chunk = batches[position.batch * world : (position.batch + 1) * world]
            mine = self.accelerator.process_index
            own = chunk[mine] if mine < len(chunk) else None
            losses = self._batch(own)
            if self.sharded and not losses:
                self._pass_along(own or chunk[0])
            if self.keep_going:
                self._agree_on_failures()
            self.publish(BatchEnded(position.epoch, position.batch + 1, rounds, losses))
            position.count_losses(losses)
            tally["tokens"] += sum(int(batch.source.train.encoded.lengths[batch.sequences].sum()) for batch in chunk)
            position.batch += 1
            last = position.batch == rounds
            stepped = last or position.batch % training.accumulation == 0
            if stepped:
                self._step((position.epoch + start / rounds) / training.epochs)
            took = time.monotonic() - began
            tally["seconds"] += took
            self.clock.add("training", took)
            if (estimate := self._estimate.batch(took)) is not None:
                self.publish(TimeEstimated(estimate))
            due = last if training.evaluate_every == "epoch" else stepped and position.step % training.evaluate_every == 0
            over = last and position.epoch + 1 == training.epochs  # the last weights are judged too
            asked: list[str] | None = None
            if self.halving is not None:
                asked = self.halving.due(position.step, self.learners, last) if stepped and not over else None
                due = bool(asked)
            due = due or over
            if due:
                began = time.monotonic()
                self._evaluate(asked)
                took = time.monotonic() - began
                tally["evaluation_seconds"] += took
                self.clock.add("judging", took)
            done = not self.active()
            if last or done:
                self._close_epoch()
            if stepped:
                saved = self.resumable.after_step(position, self.cost, saved, judged=due)
            if last or done:
                return

    def _close_epoch(self) -> None:
        spent = self.position.close_epoch()
        self.cost.epochs.append(spent)
        spans = (spent.seconds, spent.evaluation_seconds, spent.tokens)
        self.publish(EpochEnded(self.position.epoch, self.training.epochs, *spans, step=self.position.step))

    def _batch(self, batch: Batch | None) -> dict[str, torch.Tensor]:
        """Add one batch's gradients to what is there; return its losses by task."""
        if batch is None:
            return {}
        draws = seeded(self.training.seed, self.accelerator.process_index, self.position.epoch, self.position.batch)
        with draws:
            bounds = self.training.batch_tokens, self.training.batch_size
            losses = batch_losses(batch, self.parts(), device=self.device, precision=self.precision, bounds=bounds)
        for name, loss in losses.items():
            if not torch.isfinite(loss):
                self._fail(name, f"the loss of task {name} is {loss.item()}")
        active = self.active()  # without those that have just failed
        losses = {name: loss for name, loss in losses.items() if any(name in own.parts for own in active.values())}
        if not losses:
            return {}
        totals = []
        for learner in active.values():
            if own := {name: losses[name] for name in learner.parts if name in losses}:
                totals.append(learner.loss(own))
                learner.batches += 1
        torch.stack(totals).sum().backward()
        return {name: loss.detach() for name, loss in losses.items()}

    def _pass_along(self, batch: Batch) -> None:
        """Go through a trunk that is divided as the other processes do, without a loss."""
        parts, states = self.parts(), list[torch.Tensor]()
        layers = {layer for part in parts.values() for layer in part.branch.wanted()}
        with seeded(self.training.seed, "along"):
            batch.source.train.feed.feed(batch.sequences, layers, lambda layer, rows: states.append(rows.sum()))
        (torch.stack(states).sum() * 0).backward()

    def _fail(self, task: str, what: str) -> None:
        """Stop the learner of a task whose loss is no number; raise that where the others are not to continue."""
        what += f" in step {self.position.step + 1}"
        if not self.keep_going:
            raise TrunklineError(f"{what}; {self.resumable.last_good()}; {REMEDY}")
        learner = next(own for own in self.learners.values() if task in own.parts)
        learner.progress.stopped, learner.progress.failed = True, f"{what}; {REMEDY}"

    def _agree_on_failures(self) -> None:
        """Stop the learners whose loss was no number in some process: all processes train the same ones."""
        there = anywhere(self.accelerator, *(own.progress.failed is not None for own in self.learners.values()))
        for (name, learner), failed in zip(self.learners.items(), there, strict=True):
            if failed and learner.progress.failed is None:
                learner.progress.stopped = True
                learner.progress.failed = f"the loss of {name} in another process is no number in step {self.position.step + 1}"

    def _step(self, progress: float) -> None:
        """Let every active learner that has gradients step; `progress` is the share of the training done before it."""
        for learner in self.active().values():
            if self.accelerator.num_processes > 1:
                learner.join(self.accelerator)
            if learner.batches:
                learner.average()
                learner.step(progress)
        self.position.step += 1

    def _evaluate(self, names: Sequence[str] | None = None) -> None:
        """Judge the active learners, those that are called so or all, and let go of those that are not trained further."""
        active = {name: own for name, own in self.active().items() if names is None or name in names}
        # Steps, judging and keeping the best weights need memory in other pieces each, so what is free is given back between.
        large = any(learner.source.large for learner in active.values())
        if large:
            give_back_freed_memory()
        for learner in active.values():
            learner.train(False)
        metrics: dict[str, dict[str, Any]] = {}
        parts = {name: part for learner in active.values() for name, part in learner.parts.items()}
        with ExitStack() as judging:
            for own in {id(learner.source): learner.source for learner in active.values()}.values():
                judging.enter_context(own.judging())
            for source in self.sources:
                metrics |= split_scores(parts, source.validation, **self._judging("validation"))
        for name, found in metrics.items():
            if not math.isfinite(found["loss"]):
                self._fail(name, f"the validation loss of task {name} is {found['loss']}")
        active = {name: own for name, own in active.items() if not own.progress.stopped}
        if large:
            give_back_freed_memory()
        entry: dict[str, Any] = {"step": self.position.step, "epoch": self.position.epoch + 1, "tasks": {}}
        losses = self.position.mean_losses()
        for learner in active.values():
            better = learner.judge({name: metrics[name] for name in learner.parts}, self.position.step)
            entry["tasks"] |= learner.noted(metrics, losses, better)
            learner.train()
        self.position.history.append(entry)
        if self.halving is not None:
            self.halving.cut(self.position.step, self.learners)
        rates = {name: learner.last_rate for learner in active.values() for name in learner.parts}
        self.publish(Evaluated(entry["step"], entry["epoch"], entry["tasks"], rates))

    def logits(self, parts: dict[str, Part], split: SplitFeed, name: str) -> dict[str, np.ndarray]:
        """Logits of tasks on a split, which is called so, each process doing its share."""
        return split_logits(parts, split, **self._judging(name))

    def _judging(self, split: str) -> dict[str, Any]:
        """How tasks are judged on a split that is called so."""
        return {
            "accelerator": self.accelerator,
            "precision": self.precision,
            "progress": lambda done, total: self.publish(EvaluationProgress(split, done, total)),
        }
