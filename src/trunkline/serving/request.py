"""What is asked of the engine, what it answers, and why it may refuse."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal

from trunkline.errors import TrunklineError
from trunkline.inputs.cutting import Cut
from trunkline.model.arguments import Asked, EmptyTexts
from trunkline.model.branch import Branch
from trunkline.model.plan import Plan, PlannedPass

LongTexts = Literal["cut", "windows", "refuse"]


@dataclass(frozen=True)
class Request:
    """Texts, and the tasks that are to answer for them.

    Attributes:
        texts: one text, or a list of texts; a text may be a list of its words where a task tags words.
        pairs: the second text of each, where a task reads pairs.
        units: character spans (start, end) of the words of each text, in order.
        tasks: names of branches; None for all, but for those that read pairs where there are none and others can answer.
        empty_texts: as of `Bundle.predict`.
        long_texts: what tasks at text level make of a text that is longer than a branch reads: "cut" reads what the branch
            was trained to read; "windows" reads all of it as overlapping windows, whose logits are averaged, each weighted by
            its tokens; "refuse" raises. Tasks that tag words, or were trained on all windows, always read these as they were
            trained to. Pairs are cut or refused.
        timeout: seconds after which nobody waits for the answer any more; None: for ever.
    """

    texts: Any
    pairs: Any = None
    units: Any = None
    tasks: Collection[str] | None = None
    empty_texts: EmptyTexts = "skip"
    long_texts: LongTexts = "cut"
    timeout: float | None = None


@dataclass(frozen=True)
class Answer:
    """The predictions for a request.

    Attributes:
        predictions: for each text, the prediction of every task by its name, as `Bundle.predict_written` gives it.
        branches: the branches that have answered, by name.
        long_texts: numbers (from 0) of texts longer than a branch reads at once, that were cut or read in windows.
        tokens: read for the request, special ones included.
        queued, computed: seconds from submission until its first batch began, and from then until its last one had ended.
    """

    predictions: list[dict[str, dict[str, Any]]]
    branches: Mapping[str, Branch]
    long_texts: tuple[int, ...]
    tokens: int
    queued: float
    computed: float


class Overloaded(TrunklineError):
    """The queue is full; `retry_after` is in how many seconds there should be room."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("the queue is full")
        self.retry_after = retry_after


class Expired(TrunklineError):
    """The request's timeout passed before its texts were read, or before they were answered."""


class Closed(TrunklineError):
    """The engine takes no more requests."""


@dataclass(eq=False)
class Room:
    """What a request takes up of the queue."""

    tokens: int
    taken: bool = True


@dataclass(eq=False)
class Job:
    """A request on its way.

    Attributes:
        untokenised: texts that have not been tokenised yet.
        tokens: that were read.
        steps: of each text its tokens, or its words where there are more of them, as a word without a token is decoded, too.
        remaining: answers that are missing: of each text before it is computed, then of each text by each group of branches.
    """

    request: Request
    asked: Asked
    plan: Plan
    names: tuple[str, ...]
    room: Room
    began: float = field(default_factory=time.monotonic)
    future: Future[Answer] = field(default_factory=Future)
    predictions: list[dict[str, dict[str, Any]]] = field(default_factory=list)
    untokenised: int = 0
    remaining: int = 0
    tokens: int = 0
    steps: int = 0
    long_texts: set[int] = field(default_factory=set)
    first_batch: float | None = None

    @property
    def expired(self) -> bool:
        return self.request.timeout is not None and time.monotonic() - self.began > self.request.timeout

    @property
    def dropped(self) -> bool:
        """Whether nobody waits for its answer any more."""
        return self.future.done()

    def passes(self) -> list[tuple[PlannedPass, Cut, tuple[str, ...]]]:
        """The passes that it needs: how each one cuts texts for it, and the branches that answer from it."""
        found = []
        windows = self.request.long_texts == "windows"
        for one in self.plan.passes:
            names = tuple(name for name in one.branches if name in self.names)
            if names:
                whole = {one.branches[name].task.answers.whole for name in names}
                cut = Cut(one.cut.max_length, windows=True in whole or windows, cut=False in whole and not windows)
                found.append((one, cut, names))
        return found
