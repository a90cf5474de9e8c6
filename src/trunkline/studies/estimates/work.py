"""How much a run has to do, in tokens: counted before it does anything."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trunkline.inputs.encoded import Encoded
from trunkline.training.prepare import Prepared, Split
from trunkline.training.run import Run
from trunkline.training.sampling import SharedTexts, SplitFeed, draw_batches


@dataclass(frozen=True)
class Work:
    """How much a run has to do, all its stages together.

    Attributes:
        rows: of the training data.
        tokens: of an epoch.
        scored: tokens of one evaluation.
        judged: of all evaluations while training.
        last: of those after it, on validation and test.
        tested: of the test texts.
    """

    rows: int
    tokens: int
    scored: int
    judged: int
    last: int
    tested: int

    @classmethod
    def of(cls, run: Run) -> Work:
        training = run.config.training
        tokens = scored = judged = last = 0
        for stage in run.plan(Path()):
            groups = [group for group in run.groups if group.tasks.keys() & set(stage.tasks)]
            batches = draw_batches([texts_of(group, stage.tasks) for group in groups], training, 0)
            tokens += sum(int(batch.source.train.encoded.lengths[batch.sequences].sum()) for batch in batches)
            sizes = {name: sum(_tokens(group, name) for group in groups) for name in ("validation", "test")}
            scored += sizes["validation"]
            judged += training.evaluations(math.ceil(len(batches) / training.accumulation)) * sizes["validation"]
            last += sum(sizes.values())
        rows = sum(len(group.splits["train"].corpus.texts) for group in run.groups)
        return cls(rows, tokens, scored, judged, last, sum(_tokens(group, "test") for group in run.groups))


def _tokens(group: Prepared, split: str) -> int:
    return int(encoded_of(group.splits[split]).lengths.sum()) if split in group.splits else 0


def encoded_of(split: Split) -> Encoded:
    assert split.encoded is not None
    return split.encoded


def texts_of(group: Prepared, tasks: Collection[str]) -> SharedTexts:
    """The texts of a group, to draw batches of; they are not read."""
    unread: Any = None
    own = {name: task for name, task in group.tasks.items() if name in tasks}
    return SharedTexts(*(SplitFeed(unread, group.splits[name].supervision(own)) for name in ("train", "validation")))
