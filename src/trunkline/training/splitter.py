"""The events of a stack, told to each of its runs as `fit` would tell them: what trackers of a study's config get.

A stack is trained by one loop, whose events call a task "NAME/TASK", NAME being that of a run. A run gets what is about its own
tasks, under their names, and what is about all of them. What is over for a run is not told to it: it may have stopped early.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any, Literal

from trunkline.events import (
    BatchEnded,
    BranchSaved,
    CheckpointSaved,
    EpochEnded,
    Evaluated,
    Event,
    Finding,
    Subscriber,
    TrainingStarted,
)
from trunkline.training.sections import TrainingSection

State = Literal["training", "stopped", "failed"]


class Splitter:
    """A subscriber to the loop of a stack, which tells `whole` all as it is, and each run its part.

    Args:
        whole: a subscriber to the stack.
        runs: by name, subscribers to single runs.
    """

    def __init__(self, whole: Subscriber, runs: Mapping[str, Subscriber]) -> None:
        self.whole, self.runs = whole, dict(runs)
        self._training: dict[str, TrainingSection] = {}
        self._state: Callable[[str], State] = lambda name: "training"
        self._told: set[str] = set(self.runs)  # what the batch under way is told to
        self._in_epoch: set[str] = set()  # those that have trained in the epoch under way
        self._found: set[str] = set()

    def begin(self, training: Mapping[str, TrainingSection], state: Callable[[str], State]) -> None:
        """Take note, before the loop runs, of the `training:` section of each run, and of what says where one stands."""
        self._training, self._state = dict(training), state

    def leave_out(self, name: str) -> None:
        """Tell a run nothing more of the stack."""
        self.runs.pop(name, None)

    def of(self, name: str) -> Subscriber:
        """What tells a run its own events, and `whole` of saved branches and, once, of what is found of several runs."""
        own = self.runs[name]

        def told(event: Event) -> None:
            own(event)
            if isinstance(event, BranchSaved) or (isinstance(event, Finding) and event.text not in self._found):
                self.whole(event)
            if isinstance(event, Finding):
                self._found.add(event.text)

        return told

    def __call__(self, event: Event) -> None:
        self.whole(event)
        if isinstance(event, BatchEnded):
            self._told = {name for name in self.runs if self._state(name) == "training"}
            self._in_epoch |= self._told
        elif isinstance(event, Evaluated):  # without those whose loss was found to be no number
            self._told = {name for name in self._told if of_run(event.tasks, name)}
        told = self._told if isinstance(event, (BatchEnded, Evaluated, CheckpointSaved)) else set(self.runs)
        if isinstance(event, EpochEnded):
            told = {name for name in self._in_epoch if self._state(name) != "failed"}
            self._in_epoch = set()
        for name in [name for name in self.runs if name in told]:
            self.runs[name](self._part(event, name))

    def _part(self, event: Event, name: str) -> Event:
        """An event as a run of its own would have it."""
        if isinstance(event, (BatchEnded, Evaluated)):
            values = {one.name: getattr(event, one.name) for one in fields(event)}
            own: dict[str, Any] = {key: of_run(one, name) for key, one in values.items() if isinstance(one, Mapping)}
            return replace(event, **own)
        if isinstance(event, TrainingStarted) and name in self._training:
            return replace(event, patience=self._training[name].stops_after(event.steps))
        return event


def of_run(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Those values whose key is "NAME/TASK", by task."""
    return {key.removeprefix(f"{name}/"): value for key, value in values.items() if key.startswith(f"{name}/")}
