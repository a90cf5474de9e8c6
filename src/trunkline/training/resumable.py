"""What makes a training resumable: it is resumed from its checkpoint, saved now and then, and stopped between two steps."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from trunkline.errors import TRAIN_AGAIN, BadInput
from trunkline.events import CheckpointSaved, Event, Finding, Resumed, StopRun, Subscriber
from trunkline.training.agreement import anywhere, wait_for_all
from trunkline.training.checkpoint import Learns, Position, load_checkpoint, save_checkpoint
from trunkline.training.clock import Clock
from trunkline.training.cost import Cost
from trunkline.training.environment import changes, environment
from trunkline.training.feeds import Noted
from trunkline.training.signals import StopRequest

CHECKPOINT_SECONDS = 300  # at most this much work is lost to a kill, however long an epoch is
SAVING_SHARE = 0.05  # of the time, at most, goes into checkpoints of evaluations (a whole trunk takes a second to write)
REMEDY = "a lower training.learning_rate or training.precision=fp32 usually helps"  # where a loss is no longer a number


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop and has saved a checkpoint; the same command resumes it.

    It is no Exception: what runs many fits and goes on after one that fails, as a search over parameters, stops too.
    """


class Resumable:
    """The checkpoint of a training, and what stops it. Where the training stands is given to each call.

    Args:
        learners: what the checkpoint keeps, by name.
        what: how messages call the training.
        accelerator: joins several processes.
        checkpoint: directory of the checkpoint.
        identity: sha256 of all that the result depends on; a checkpoint with another one is refused.
        publish: told of checkpoints, and of what is told to this object's `publish`.
        noted: where the states of each split come from, for the checkpoint.
        clock: of the training.
        divided: whether weights are divided among the processes, so that all of them take part in a checkpoint.
    """

    def __init__(
        self,
        learners: Mapping[str, Learns],
        what: str,
        *,
        accelerator: Accelerator,
        checkpoint: Path,
        identity: str,
        publish: Subscriber,
        noted: Mapping[str, Noted],
        clock: Clock,
        divided: bool = False,
    ) -> None:
        self.learners, self.what, self.accelerator = learners, what, accelerator
        self.checkpoint, self.identity, self._tell, self.clock = checkpoint, identity, publish, clock
        self.divided = divided
        self.environment: dict[str, Any] = environment(accelerator) | {
            "states": {place: one.states for place, one in noted.items()},
            "stores": {place: one.stores for place, one in noted.items()},
        }
        self._stop = StopRequest()
        self._given_up: StopRun | None = None
        self._began = time.monotonic()
        self._saving = 0.0  # seconds that the last checkpoint took

    def resume(self) -> tuple[Position, Cost] | None:
        """Load the learners from the checkpoint; return where they stand, and None where there is no checkpoint.

        Raises:
            BadInput: the checkpoint is of another training, or of a launch of another number of processes.
        """
        found = load_checkpoint(self.checkpoint, self.identity, self.learners)
        if found:
            position = found[0]
            self._compare(position.environment)
            position.environment = self.environment
            self.clock.resume(position.clock)
            self.publish(Resumed(position.epoch, position.step))
        return found

    def _compare(self, before: dict[str, Any]) -> None:
        """Refuse a checkpoint of another number of processes, and say what else has changed since."""
        found, world = before.get("processes", 1), self.environment["processes"]
        if before and found != world:
            by = f"{found} {'process' if found == 1 else 'processes'}"
            raise BadInput(
                f"{self.checkpoint}: the checkpoint was made by {by}, found {world}",
                remedy="start as many as before",
                option=TRAIN_AGAIN,
            )
        if changed := changes(before, self.environment):
            self.publish(Finding(changed))

    @contextmanager
    def running(self, position: Position) -> Iterator[None]:
        """Within the block signals only ask to stop, which `look` hears; its time counts for `position`."""
        self._began = time.monotonic() - position.seconds
        with self._stop:
            yield

    def seconds(self) -> float:
        """Those of the training so far, its earlier launches included."""
        return time.monotonic() - self._began

    def publish(self, event: Event) -> None:
        """Tell an event. That a subscriber has given up is heard between two steps, by all processes at once."""
        try:
            self._tell(event)
        except StopRun as asked:
            self._given_up = self._given_up or asked

    def after_step(self, position: Position, cost: Cost, saved: float, *, judged: bool) -> float:
        """`look`, saving where enough work would be lost, or after an evaluation if that takes little of the time.

        Args:
            saved: when the last checkpoint was made, or the epoch began, as `time.monotonic()`.
            judged: whether an evaluation has just been made.

        Returns: when the last checkpoint was made, this one included.
        """
        since = time.monotonic() - saved
        worth_saving = (judged and since * SAVING_SHARE >= self._saving) or since > CHECKPOINT_SECONDS
        return time.monotonic() if self.look(position, cost, worth_saving) else saved

    def look(self, position: Position, cost: Cost, worth_saving: bool = False) -> bool:
        """Save where that is worth it, and stop where that was asked of some process; return whether a checkpoint was saved.

        Raises:
            Interrupted: on SIGINT or SIGTERM, after saving.
            StopRun: a subscriber has raised it.
        """
        interrupted, given_up, saving = anywhere(self.accelerator, self._stop.made, self._given_up is not None, worth_saving)
        if given_up and not interrupted:
            raise self._given_up or StopRun(f"the {self.what} was given up by the main process")
        if saving or interrupted:
            self._save(position, cost)
        if interrupted:
            raise Interrupted(
                f"interrupted after step {position.step}; a checkpoint was saved; rerun the same command to resume"
            )
        return saving

    def _save(self, position: Position, cost: Cost) -> None:
        began = time.monotonic()
        position.seconds, position.clock = began - self._began, self.clock.as_dict()
        main = self.accelerator.is_main_process
        if main or self.divided:
            save_checkpoint(self.checkpoint, self.identity, self.learners, position, cost, write=main)
        wait_for_all(self.accelerator)
        self._saving = time.monotonic() - began
        self.clock.add("saving", self._saving)
        self.publish(CheckpointSaved(self.checkpoint, position.step))

    def last_good(self) -> str:
        """Where what was trained before a failure is, for its message."""
        return f"the last good checkpoint is in {self.checkpoint}" if self.checkpoint.exists() else "no checkpoint was made yet"
