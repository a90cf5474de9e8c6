"""Which texts are shown token by token: those that a user gives, or a few of the data, drawn by the seed."""

from __future__ import annotations

import numpy as np

from trunkline.explain.subject import Subject

TEXTS = 4  # that are drawn
LONGEST = 300  # characters of a drawn text, if there are enough so short: a longer one fills a page


def drawn_texts(subject: Subject) -> tuple[list[str], list[str] | None]:
    """The texts, and the second text of each where the branch reads pairs."""
    if subject.texts is not None:
        return list(subject.texts), None
    corpus = subject.rows.corpus
    short = [row for row, text in enumerate(corpus.texts) if len(text) <= LONGEST]
    among = short if len(short) >= TEXTS else list(range(len(corpus)))
    chosen = np.sort(np.random.default_rng(subject.seed).permutation(np.array(among, np.int64))[:TEXTS]).tolist()
    return [corpus.texts[row] for row in chosen], None if corpus.pairs is None else [corpus.pairs[row] for row in chosen]
