"""What branches answer for the texts that were seen: as `Bundle.predict`, or labels by token where no words are known."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from trunkline.data.corpus import Corpus
from trunkline.data.table import Table
from trunkline.inputs.encoded import Encoded, offsets_of
from trunkline.model.attached.seen import Seen
from trunkline.model.attached.texts import Read
from trunkline.model.branch import Branch
from trunkline.model.decision import withheld


def answers_of(
    branch: Branch, seen: Seen, logits: np.ndarray, reads: Sequence[Read] | None, min_confidence: float | None = None
) -> list[dict[str, Any]]:
    """Return the answer of a branch for each of the B texts of a batch; one without a token has parts that are None.

    Args:
        branch: which.
        seen: the batch.
        logits: of the branch, as of `Seen.logits`.
        reads: the texts that have tokens, and where their words lie; None where that is not known. Then a branch that tags
            words gives `tokens`, a label for each token.
        min_confidence: as of `Bundle.predict`.
    """
    task = branch.task
    if not len(seen.answered):
        return _by_row(seen, [], {"tokens": None} if task.answers.units and reads is None else dict.fromkeys(task.parts))
    if not task.answers.units:
        corpus = _corpus([""] * len(logits), None)
        shown = task.present(branch.decode(logits), corpus)
        empty = dict.fromkeys(task.parts)
    elif reads is None:
        return _by_row(seen, _by_token(branch, seen, logits), {"tokens": None})
    else:
        encoded = _encoded(seen, reads)
        answers = task.answers(encoded)
        places = answers.places(np.arange(len(encoded.lengths)))
        chosen = np.zeros((answers.count, task.outputs), np.float32)
        chosen[places.into] = logits[places.rows]
        answers.complete(chosen)
        corpus = _corpus([read.text for read in reads], [read.units for read in reads])
        shown = task.present(branch.decode(chosen, answers.offsets), corpus)
        empty = dict.fromkeys(task.parts)
    return _by_row(seen, [withheld(task, task.in_own_type(one), min_confidence) for one in shown], empty)


def labels_of(branch: Branch, seen: Seen, logits: np.ndarray, first: int) -> list[list[dict[str, Any]]]:
    """Return, for each of the B texts, the labels of its tokens from column `first` on, of a branch that tags words."""
    shown = _by_token(branch, seen, logits) if len(seen.answered) else []
    rows = _by_row(seen, shown, {"tokens": []})
    return [[token for token in row["tokens"] if token["position"] >= first] for row in rows]


def _by_token(branch: Branch, seen: Seen, logits: np.ndarray) -> list[dict[str, Any]]:
    """Labels of all tokens of the texts that have some: `position` counts columns of the model's input."""
    real = seen.real[seen.answered]
    lengths, columns = real.sum(1), np.nonzero(real)[1]
    decoded = branch.decode(logits, offsets_of(lengths))
    labels, tags = branch.task.labels, decoded.values.tolist()
    each = zip(columns.tolist(), tags, decoded.scores.tolist(), strict=True)
    tokens = [{"position": place, "label": labels[tag], "score": score} for place, tag, score in each]
    edges = offsets_of(lengths).tolist()
    return [{"tokens": tokens[start:end]} for start, end in pairwise(edges)]


def _by_row(seen: Seen, shown: list[dict[str, Any]], empty: dict[str, Any]) -> list[dict[str, Any]]:
    rows = [dict(empty) for _ in seen.real]
    for row, one in zip(seen.answered.tolist(), shown, strict=True):
        rows[row] = one
    return rows


def _encoded(seen: Seen, reads: Sequence[Read]) -> Encoded:
    """The texts that have tokens, with the rows of their words."""
    real = seen.real[seen.answered]
    offsets = offsets_of(real.sum(1))
    assert seen.ids is not None
    rows = [np.where(read.rows < 0, -1, read.rows + start) for read, start in zip(reads, offsets, strict=False)]
    return Encoded(
        seen.ids[seen.answered][real].astype(np.int32),
        offsets,
        None,
        np.arange(len(real), dtype=np.int32),
        np.concatenate([np.empty(0, np.int64), *rows]),
        offsets_of(np.array([len(read.rows) for read in reads], np.int64)),
    )


def _corpus(texts: list[str], units: list[list[tuple[int, int]]] | None) -> Corpus:
    return Corpus(Table("the model's input", {"text": texts}), texts, None, units)
