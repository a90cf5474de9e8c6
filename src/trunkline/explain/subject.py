"""What the sections of a page are about: one branch, its answers to labelled rows, and the run that it comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from trunkline.branches.examples import Asked, Examples
from trunkline.events import Subscriber, quiet
from trunkline.explain.answers import ShownAnswers, answers_of
from trunkline.explain.rows import Rows
from trunkline.inputs.encoded import Encoded
from trunkline.model.branch import Branch
from trunkline.model.bundle import Bundle
from trunkline.model.part import Part
from trunkline.model.plan import PlannedPass
from trunkline.training.examples import gather, special_ids
from trunkline.training.sampling import SplitFeed
from trunkline.training.supervision import Supervision


@dataclass(frozen=True)
class Subject:
    """See the module's docstring.

    Attributes:
        bundle: it has this branch alone.
        name: of the branch in it.
        rows: what it is judged on.
        split: what these rows are called in titles: "test", or "data" where a user gave them.
        run: the directory of the run that the branch lies in; None where it lies elsewhere.
        summary: its result.json with this task alone, under `name` of the task; None likewise.
        seed: of all that is drawn.
        texts: those to show token by token, given by the user; None: some of `rows` are drawn.
        single_layers: whether a branch for every single layer is trained.
        label_errors: whether branches are trained that doubt the labels of training rows.
        say: told, in a sentence, what takes long or could not be done.
        publish: told of what happens while branches are trained.
    """

    bundle: Bundle
    name: str
    rows: Rows
    split: str
    run: Path | None = None
    summary: Mapping[str, Any] | None = None
    seed: int = 0
    texts: tuple[str, ...] | None = None
    single_layers: bool = False
    label_errors: bool = False
    say: Callable[[str], None] = lambda sentence: None
    publish: Subscriber = quiet

    @property
    def branch(self) -> Branch:
        return self.bundle.branches[self.name]

    @property
    def task(self) -> Any:
        return self.branch.task

    @property
    def planned(self) -> PlannedPass:
        """The pass that the branch answers from."""
        return self.bundle.plan.passes[0]

    @property
    def history(self) -> list[Mapping[str, Any]]:
        """The evaluations of the training of this task, as its run has them."""
        entries = (self.summary or {}).get("history", ())
        return [entry for entry in entries if self.task.name in entry["tasks"]]

    @cached_property
    def encoded(self) -> Encoded:
        """The texts of `rows` as the branch reads them."""
        return self.bundle.plan.encode({self.planned.pairs: self.rows.corpus})[0]

    @cached_property
    def answers(self) -> ShownAnswers:
        """The answers to `rows` as the page shows them."""
        return answers_of(self.task, self.rows)

    def examples(self, layers: tuple[int, ...]) -> Examples:
        """States of labelled rows for these layers, each text or word one, as many as fit into memory; drawn by the seed."""
        task = self.task
        supervision = Supervision(task, task.for_loss(self.rows.targets), self.encoded)
        split = SplitFeed(self.planned.states(self.encoded), {task.name: supervision})
        part = Part(task, self.branch.module, self.branch.criterion)
        special = special_ids(self.planned.trunk.tokenizer)
        return gather(split, part, Asked(layers, "content"), self.seed, special)
