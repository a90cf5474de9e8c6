"""The training loop of a student: batches, steps, validation losses and checkpoints.

It draws nothing at random but the order of batches, which depends on seed and epoch alone: a loop that was killed ends with the
same bits as one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from trunkline.errors import TrunklineError
from trunkline.events import BatchEnded, EpochEnded, Evaluated, Subscriber, TimeEstimated, TrainingStarted
from trunkline.inputs.batching import Layout, token_batches
from trunkline.inputs.encoded import Encoded
from trunkline.states.live import Feed
from trunkline.training.agreement import summed
from trunkline.training.checkpoint import Position
from trunkline.training.clock import Clock
from trunkline.training.cost import Cost
from trunkline.training.distillation.config import DistillationTraining
from trunkline.training.distillation.learner import StudentLearner
from trunkline.training.distillation.losses import Comparison
from trunkline.training.estimate import Estimate
from trunkline.training.feeds import Noted
from trunkline.training.resumable import REMEDY, Resumable
from trunkline.trunk.load import Trunk

STUDENT = "student"  # what events and checkpoints call it


@dataclass(frozen=True)
class Texts:
    """A split: its tokens, and the teacher's states of them."""

    encoded: Encoded
    feed: Feed
    noted: Noted


class StudentLoop:
    """Trains a student.

    Args:
        learner: the student and its optimiser.
        comparison: its losses.
        trunk: the teacher, which collates batches.
        splits: `train` and `validation`.
        training: the `training:` section.
        precision: fp32 or bf16, of the student's passes.
        accelerator, checkpoint, identity, cost, publish, clock: as of `training.loop.Loop`.
    """

    def __init__(
        self,
        learner: StudentLearner,
        comparison: Comparison,
        trunk: Trunk,
        splits: Mapping[str, Texts],
        training: DistillationTraining,
        *,
        precision: str,
        accelerator: Accelerator,
        checkpoint: Path,
        identity: str,
        cost: Cost,
        publish: Subscriber,
        clock: Clock,
    ) -> None:
        self.learner, self.comparison, self.trunk, self.splits = learner, comparison, trunk, splits
        self.training, self.precision, self.accelerator = training, precision, accelerator
        self.cost, self.clock = cost, clock
        self.resumable = Resumable(
            {STUDENT: learner},
            "distillation",
            accelerator=accelerator,
            checkpoint=checkpoint,
            identity=identity,
            publish=publish,
            noted={name: split.noted for name, split in splits.items()},
            clock=clock,
        )
        self.publish = self.resumable.publish
        self.position = Position(environment=self.resumable.environment)
        self._estimate = Estimate(0, 0.0)

    def run(self) -> tuple[Position, Cost]:
        """Train to the end, from the checkpoint if there is one; the student then holds its last weights.

        Raises:
            BadInput: the checkpoint is of another distillation, or of a launch of another number of processes.
            Interrupted: on SIGINT or SIGTERM, after saving.
            StopRun: a subscriber has raised it.
            TrunklineError: a loss is no longer a number; the last good checkpoint stays.
        """
        if found := self.resumable.resume():
            self.position, self.cost = found
        self._announce()
        with self.resumable.running(self.position):
            if not self.position.history:
                self._judge(0)
            while self.position.epoch < self.training.epochs:
                self._epoch()
        self.resumable.look(self.position, self.cost)
        self.position.seconds = self.resumable.seconds()
        return self.position, self.cost

    def batches(self, epoch: int) -> list[np.ndarray]:
        """The batches of `epoch`, sequences of the train split; they depend on the seed and the epoch alone."""
        lengths = self.splits["train"].encoded.lengths
        return token_batches(lengths, tokens=self.training.batch_tokens, seed=self.training.seed, epoch=epoch)

    def _announce(self) -> None:
        rounds = math.ceil(len(self.batches(0)) / self.accelerator.num_processes)
        judged = self.splits["validation"].encoded.lengths.sum() / self.splits["train"].encoded.lengths.sum()
        self._estimate = Estimate(rounds * (self.training.epochs - self.position.epoch) - self.position.batch, float(judged))
        self.publish(TrainingStarted(rounds, self.training.epochs, varying=self.training.epochs > 1))

    def _epoch(self) -> None:
        """Train to the end of the epoch under way, and measure the losses on validation."""
        position, world, rank = self.position, self.accelerator.num_processes, self.accelerator.process_index
        batches = self.batches(position.epoch)
        rounds = math.ceil(len(batches) / world)  # a round: one batch for each process
        tally, saved = position.opened_epoch(), time.monotonic()
        lengths = self.splits["train"].encoded.lengths
        while position.batch < rounds:
            began = time.monotonic()
            chunk = batches[position.batch * world : (position.batch + 1) * world]
            losses = self._batch(chunk[rank]) if rank < len(chunk) else {}
            self.publish(BatchEnded(position.epoch, position.batch + 1, rounds, losses))
            position.count_losses(losses)
            self.learner.join(self.accelerator, len(chunk))
            self.learner.step((position.epoch + position.batch / rounds) / self.training.epochs)
            tally["tokens"] += sum(int(lengths[batch].sum()) for batch in chunk)
            position.batch, position.step = position.batch + 1, position.step + 1
            took = time.monotonic() - began
            tally["seconds"] += took
            self.clock.add("training", took)
            if (estimate := self._estimate.batch(took)) is not None:
                self.publish(TimeEstimated(estimate))
            if last := position.batch == rounds:
                self._close_epoch(tally)
            saved = self.resumable.after_step(position, self.cost, saved, judged=last)
            if last:
                return

    def _close_epoch(self, tally: dict[str, float]) -> None:
        tally["evaluation_seconds"] += self._judge(self.position.epoch + 1)
        spent = self.position.close_epoch()
        self.cost.epochs.append(spent)
        spans = (spent.seconds, spent.evaluation_seconds, spent.tokens)
        self.publish(EpochEnded(self.position.epoch, self.training.epochs, *spans, step=self.position.step))

    def _batch(self, sequences: np.ndarray) -> dict[str, Tensor]:
        """Compute the gradients of one batch; return its losses, their weighted sum as `loss`."""
        losses = self._losses("train", sequences)
        total = self.comparison.total(losses)
        if not torch.isfinite(total):
            what = f"the loss is {total.item()} in step {self.position.step + 1}"
            raise TrunklineError(f"{what}; {self.resumable.last_good()}; {REMEDY}")
        total.backward()
        return {name: loss.detach() for name, loss in {"loss": total, **losses}.items()}

    def _losses(self, split: str, sequences: np.ndarray) -> dict[str, Tensor]:
        texts, device = self.splits[split], self.accelerator.device
        theirs: dict[int, Tensor] = {}
        with torch.no_grad():
            texts.feed.feed(
                sequences, self.comparison.teacher_layers, lambda layer, rows: theirs.update({layer: rows.to(device)})
            )
        student = self.learner.student
        own = student.states(self.trunk, texts.encoded, sequences, self.comparison.student_layers, self.precision)
        layout = Layout(torch.from_numpy(texts.encoded.lengths[sequences].astype(np.int64)).to(device))
        return self.comparison.losses(own, theirs, layout)

    def judge(self) -> dict[str, float]:
        """The losses on validation, each the mean over its batches weighted by their tokens; their weighted sum as `loss`."""
        lengths, names = self.splits["validation"].encoded.lengths, [term.name for term in self.comparison.terms]
        batches = token_batches(lengths, tokens=self.training.batch_tokens)
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        sums = torch.zeros(len(names) + 1, dtype=torch.float64)
        with torch.no_grad():
            for batch in batches[rank::world]:
                losses, tokens = self._losses("validation", batch), int(lengths[batch].sum())
                sums += tokens * torch.tensor([*(float(losses[name]) for name in names), 1.0], dtype=torch.float64)
        if world > 1:
            sums = summed(self.accelerator, sums.float().to(self.accelerator.device)).double().cpu()
        means = dict(zip(names, (sums[:-1] / sums[-1]).tolist(), strict=True))
        return {"loss": sum(term.weight * means[term.name] for term in self.comparison.terms), **means}

    def _judge(self, epoch: int) -> float:
        """Take note of the losses after `epoch` epochs; return the seconds that this took."""
        began = time.monotonic()
        found = self.judge()
        if not math.isfinite(found["loss"]):
            raise TrunklineError(f"the validation loss is {found['loss']} after step {self.position.step}")
        trained = self.position.mean_losses()
        self.position.history.append(
            {
                "epoch": epoch,
                "step": self.position.step,
                "validation": _rounded(found.items()),
                "train": _rounded(trained.items()),
            }
        )
        took = time.monotonic() - began
        self.clock.add("judging", took)
        shown = {"validation": found, "best": False, "train_loss": trained.get("loss")}
        self.publish(Evaluated(self.position.step, epoch, {STUDENT: shown}, {STUDENT: self.learner.last_rate}))
        return took


def _rounded(losses: Iterable[tuple[str, float]]) -> dict[str, float]:
    return {name: float(f"{loss:.8g}") for name, loss in losses}
