"""Rows without a label: how many a task has, and what is to be said where a split that was drawn has no other."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from trunkline.data.corpus import Corpus
from trunkline.tasks import Targets, Task
from trunkline.tasks.labels import NoLabels


def unlabelled(targets: Targets) -> int:
    """How many rows have no label; of a task at unit level, those with units of which none has a tag."""
    if targets.offsets is None:
        return int((~targets.present).sum())
    tagged = np.diff(np.concatenate([[0], np.cumsum(targets.present)])[targets.offsets])
    return int(((np.diff(targets.offsets) > 0) & (tagged == 0)).sum())


@contextmanager
def explained(task: Task, whole: Corpus, split: str, corpora: Mapping[str, Corpus], drawn: Collection[str]) -> Iterator[None]:
    """Say of a drawn split, or of what drawing has left, that no row of it has a label though others of the source have."""
    try:
        yield
    except NoLabels:
        if split not in drawn and not (split == "train" and drawn):
            raise
        source, labelled = whole.table.source, len(whole.texts) - unlabelled(task.targets(whole))
        rows = len(corpora[split].texts)
        which = f"{rows:,} {'row' if rows == 1 else 'rows'} {'drawn from' if split in drawn else 'left of'} {source}"
        raise NoLabels(
            f"{source}: the {split} split ({which}) has no row with a label for task {task.name}, which {labelled:,} of all "
            f"{len(whole.texts):,} rows have; expected at least one: more rows with a label, another share, or other data for "
            f"{split if split in drawn else ' and '.join(sorted(drawn))}"
        ) from None
