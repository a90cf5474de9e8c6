"""Labelled rows of a page, and what a branch answers to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trunkline.data.corpus import Corpus
from trunkline.model.bundle import Bundle
from trunkline.model.portions import Portion, answered
from trunkline.tasks import Decoded, Targets


@dataclass(frozen=True)
class Rows:
    """Labelled rows, and what the branch answers.

    Attributes:
        source: what messages call the data.
        corpus: the texts, with the table that they were read from.
        targets: what is right.
        logits, offsets: as of `Criterion.decode`.
        decoded: the answers, with calibrated scores.
        metrics: of these answers.
    """

    source: str
    corpus: Corpus
    targets: Targets
    logits: np.ndarray
    offsets: np.ndarray | None
    decoded: Decoded
    metrics: Mapping[str, Any]

    def where(self, row: int) -> str:
        """Where a row is in its source, such as "line 12"."""
        return self.corpus.table.where(row).removeprefix(f"{self.corpus.table.source} ")


def judged(bundle: Bundle, source: str, corpus: Corpus, targets: Mapping[str, Targets], count: Any = None) -> dict[str, Rows]:
    """What branches of a bundle answer to the texts of a corpus that is right by `targets`, by name of the branch."""
    own = bundle.only(list(targets))
    rows = list(range(len(corpus)))
    whole = Portion(dict.fromkeys((False, True), rows), dict.fromkeys((False, True), corpus))
    found = answered(own.plan, whole, count, bundle.stored)
    made = {}
    for name, one in found.items():
        decoded = one.branch.decode(one.logits, one.offsets)
        metrics = one.branch.score(one.logits, one.offsets, targets[name])
        made[name] = Rows(source, corpus, targets[name], one.logits, one.offsets, decoded, metrics)
    return made
