"""Answers as a page shows them: of each labelled text what is right, what the branch says, and how confident it is."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from trunkline.data.corpus import Corpus
from trunkline.explain.rows import Rows
from trunkline.tasks import Decoded, Targets, Task
from trunkline.tasks.spans import tag_names


@dataclass(frozen=True)
class ShownAnswers:
    """Of the texts that have a right answer.

    Attributes:
        texts: (N,) their places in the corpus.
        right: (N,) what is right, in words.
        given: (N,) what the branch says.
        correct: (N,) bool, whether these are the same; of numbers none is.
        confidence: (N,) fp64: of a text's answer its probability; of an answer for words, where it is wrong, that of the most
            probable wrong tag, else that of the least probable tag. None for numbers.
        error: (N,) fp64, how far numbers are from what is right; None for labels.
    """

    texts: np.ndarray
    right: list[str]
    given: list[str]
    correct: np.ndarray
    confidence: np.ndarray | None
    error: np.ndarray | None


def answers_of(task: Task, rows: Rows) -> ShownAnswers:
    """The answers to the texts of `rows`."""
    decoded, targets = rows.decoded, rows.targets
    texts, words = right_and_given(task, rows.corpus, targets, decoded)
    correct = np.array([one == other for one, other in words], bool)
    error = None
    if task.named_labels is None:
        error = np.abs(decoded.values - targets.values)[texts].astype(np.float64)
    return ShownAnswers(
        texts, [one for one, _ in words], [one for _, one in words], correct, _confidence(task, rows, texts), error
    )


def right_and_given(task: Task, corpus: Corpus, targets: Targets, decoded: Decoded) -> tuple[np.ndarray, list[tuple[str, str]]]:
    """The places (N,) of the texts that have a right answer, and of each what is right and what was answered, in words."""
    present = targets.present
    if targets.offsets is not None:
        present = np.array([present[first:last].any() for first, last in pairwise(targets.offsets.tolist())], bool)
    texts = np.flatnonzero(present)
    right = _with_unseen(task, targets.unseen).present(certain(task, targets.values, targets.offsets, targets.unseen), corpus)
    given = task.present(decoded, corpus)
    return texts, [(in_words(task, right[text]), in_words(task, given[text])) for text in texts.tolist()]


def certain(task: Task, values: np.ndarray, offsets: np.ndarray | None, unseen: Mapping[str, int] | None = None) -> Decoded:
    """Answers whose probabilities are not known as ones that are certain; of numbers the scores are the numbers."""
    if offsets is not None:
        return Decoded(values, np.ones(len(values)), offsets)
    labels = len(_with_unseen(task, unseen or {}).labels)
    return Decoded(values, values if values.dtype.kind == "f" else np.ones((len(values), labels)))


def tag_at(task: Task, rows: Rows, text: int, place: int) -> tuple[str | None, str | None, float | None]:
    """Of the word at a character of a text the predicted tag, the right one if there is any, and the first's confidence."""
    assert rows.corpus.units is not None and rows.targets.offsets is not None
    units, offsets = rows.corpus.units[text], rows.targets.offsets
    unit = next((unit for unit, (start, end) in enumerate(units) if start <= place < end), None)
    if unit is None:
        return None, None, None
    row = int(offsets[text]) + unit
    labels = _with_unseen(task, rows.targets.unseen).labels
    right = labels[int(rows.targets.values[row])] if rows.targets.present[row] else None
    return task.labels[int(rows.decoded.values[row])], right, float(rows.decoded.scores[row])


def in_words(task: Task, answer: Mapping[str, Any]) -> str:
    """The main part of a prediction, as `Task.present` has it, in words."""
    main = answer[task.parts[0]]
    if isinstance(main, list):
        if main and isinstance(main[0], Mapping):
            return "; ".join(f"{span['text']} [{span['label']}] {span['start']}-{span['end']}" for span in main)
        return ", ".join(main) if main else "(none)"
    if main is None:  # of a text without tokens
        return "(none)"
    return main if isinstance(main, str) else f"{main:.6g}"


def _with_unseen(task: Task, unseen: Mapping[str, int]) -> Task:
    """A task that has the labels of some data, too, that it was not trained on, in the order of their numbers."""
    if not unseen:
        return task
    twin = copy.copy(task)
    twin.labels = tag_names([*task.own_labels, *unseen]) if task.answers.units else [*task.labels, *unseen]
    return twin


def _confidence(task: Task, rows: Rows, texts: np.ndarray) -> np.ndarray | None:
    if task.confidence is None:
        return None
    if rows.targets.offsets is None:
        return np.asarray(task.confidence.answers(rows.decoded, rows.targets).confidence, np.float64)
    begin, end = rows.targets.offsets[:-1][texts].tolist(), rows.targets.offsets[1:][texts].tolist()
    wrong = rows.targets.present & (rows.decoded.values != rows.targets.values)
    found = []
    for first, last in zip(begin, end, strict=True):
        scores, own = rows.decoded.scores[first:last], wrong[first:last]
        found.append(float(scores[own].max() if own.any() else scores.min()))
    return np.array(found, np.float64)
