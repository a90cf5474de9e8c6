"""The floors of a config: every task of it, on the splits that its run would be trained and judged on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from trunkline.events import Preparing, Subscriber, quiet
from trunkline.studies.floors.base import Floor, Measured, Subject, floors
from trunkline.studies.floors.embedding import Embeddings
from trunkline.training import clock
from trunkline.training.answered import KeptAnswers
from trunkline.training.config import RunConfig
from trunkline.training.prepare import Prepared, named_splits, prepare, split_digest
from trunkline.training.run import of_its_own


@dataclass(frozen=True)
class FloorResult:
    """A floor of a task.

    Attributes:
        floor: its name in the registry.
        title: what a table calls it.
        task: the task's name.
        monitor: the metric that the floor was chosen by, and that a method is to be better in.
        measured: what it finds.
        seconds: that this took; layer states that are stored, or were read for another task, take none.
    """

    floor: str
    title: str
    task: str
    monitor: str
    measured: Measured
    seconds: float

    @property
    def answers(self) -> KeptAnswers | None:
        return self.measured.answers

    def as_dict(self) -> dict[str, Any]:
        """All but the answers, as plain JSON: the metrics by split, and what else is known."""
        own = self.measured
        facts = {"floor": self.floor, "title": self.title, "task": self.task, "monitor": self.monitor, "seconds": self.seconds}
        return {**facts, "parameters": own.parameters, "chosen": own.chosen, "findings": own.findings, **own.metrics}


class Omitted(NamedTuple):
    """A floor that does not apply to a task, and why, as a sentence."""

    floor: str
    task: str
    said: str


class Floors(NamedTuple):
    """The floors of a config, in the order of its tasks, those that do not apply, and rows and digests of the splits."""

    results: list[FloorResult]
    omitted: list[Omitted]
    rows: dict[str, int]
    digests: dict[str, str]


def measure_floors(config: RunConfig, *, names: Collection[str] | None = None, publish: Subscriber = quiet) -> Floors:
    """Measure the floors of all tasks of a config. Its method plays no part, and its seed only where rows are drawn.

    Args:
        config: resolved.
        names: of the floors; all by default.
        publish: told of what is done next.

    Raises:
        BadInput: no such floor; the data or the trunk cannot be used.
    """
    chosen = [floors.get(name) for name in (floors.names() if names is None else names)]
    with config.naming():
        groups = prepare(config)
        results, omitted = floors_of(groups, list(config.tasks), Embeddings(config, groups, publish), chosen, publish)
    splits = named_splits(groups)
    rows = {name: len(split.corpus.texts) for name, split in splits.items()}
    return Floors(results, omitted, rows, {name: split_digest(split) for name, split in splits.items()})


def floors_of(
    groups: Sequence[Prepared],
    tasks: Sequence[str],
    embeddings: Embeddings,
    chosen: Sequence[type[Floor]],
    publish: Subscriber = quiet,
) -> tuple[list[FloorResult], list[Omitted]]:
    """The floors of tasks on these splits, and those that do not apply.

    Args:
        groups: with the splits of each task.
        tasks: in order.
        embeddings: of the texts of `groups`.
        chosen: floors, in order.
        publish: told of what is done next.
    """
    results: list[FloorResult] = []
    omitted: list[Omitted] = []
    places = {name: group for group in groups for name in group.tasks}
    for name in tasks:
        group, task = places[name], places[name].tasks[name]
        for floor in chosen:
            if (reason := floor.unsuited(group, task)) is not None:
                omitted.append(Omitted(floor.name, name, f"{floor.name} does not apply to {name!r}, as {reason}."))
                continue
            title = floor.title(task)
            publish(Preparing(f"measuring a floor of {name}: {title}"))
            begin = clock.now()
            measured = floor.measure(Subject(of_its_own(task), group, partial(embeddings.of, task)))
            seconds = clock.now() - begin
            results.append(FloorResult(floor.name, title, name, task.monitor, measured, seconds))
    return results, omitted
