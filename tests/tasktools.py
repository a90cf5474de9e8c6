"""What the tests of the kinds share: a table of columns, seen as a corpus."""

from __future__ import annotations

from trunkline.data.corpus import Corpus, build_corpus
from trunkline.data.table import Table
from trunkline.tasks import Task, kinds


def corpus_of(tokens: str | None = None, units: bool = False, source: str = "train.jsonl", **columns: list) -> Corpus:
    """A corpus of these columns; rows lie on lines 1, 2, ..."""
    size = len(next(iter(columns.values())))
    columns.setdefault("text", [f"text {i}" for i in range(size)])
    table = Table(source, columns, list(range(1, size + 1)))
    return build_corpus(table, text="text", tokens=tokens, units=units)


def fitted(kind: str, corpus: Corpus, **config: object) -> Task:
    """The task `t` of this kind, fitted on the corpus."""
    cls = kinds.get(kind)
    return cls.fit("t", cls.Config(**config), corpus)
