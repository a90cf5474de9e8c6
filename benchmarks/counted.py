"""What a branch got right of each test row, so that scores of resampled rows are sums: for intervals and paired comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trunkline.data.corpus import build_corpus
from trunkline.data.sources import read_table
from trunkline.data.values.tags import tags_to_spans, to_iob2
from trunkline.model.bundle import Bundle
from trunkline.tasks.spans import find_spans, right_spans
from trunkline.training.answered import KeptAnswers

RESAMPLES = 10_000


def counts(run: Path, test: str, metric: str) -> np.ndarray:
    """What `score` takes, of each row of `test`, by the only branch of a run: (rows, C).

    Args:
        run: the run's folder.
        test: a file, or an embedded name, with the columns `label`, or `tokens` and `tags`.
        metric: accuracy, matthews (of two labels) or f1 (of spans).
    """
    bundle, table = Bundle.open(run), read_table(test)
    [name] = bundle.branches
    if metric == "f1":
        corpus = build_corpus(table, text=None, tokens="tokens")
        rows = []
        answers = bundle.predict(corpus.texts, units=corpus.units)
        for answer, tags, units in zip(answers, table.columns["tags"], corpus.units or (), strict=True):
            gold = {(label, units[a][0], units[b - 1][1]) for label, a, b in tags_to_spans(to_iob2(tags))}
            found = {(span["label"], span["start"], span["end"]) for span in answer[name]["spans"]}
            rows.append([len(gold & found), len(found), len(gold)])
        return np.array(rows, dtype=float)
    answers = bundle.predict(table.columns["text"])
    predicted, gold = [[str(one) for one in column] for column in ([a[name]["label"] for a in answers], table.columns["label"])]
    if metric == "accuracy":
        return np.array([[float(one == other), 1.0] for one, other in zip(predicted, gold, strict=True)])
    positive = max(gold)
    cells = [2 * (one == positive) + (other == positive) for one, other in zip(predicted, gold, strict=True)]
    return np.eye(4)[cells]


def counts_of(answers: KeptAnswers, metric: str) -> np.ndarray:
    """The same of the answers that a run has kept of its test split."""
    if metric == "f1":
        assert answers.offsets is not None
        gold, found = (find_spans(tags, answers.offsets) for tags in (answers.true, answers.predicted))
        right = right_spans(gold, found)
        texts = len(answers.offsets) - 1
        begins = (found.first[right], found.first, gold.first)
        of_text = [np.searchsorted(answers.offsets, first, side="right") - 1 for first in begins]
        return np.stack([np.bincount(own, minlength=texts) for own in of_text], axis=1).astype(float)
    true, predicted = answers.true[answers.present], answers.predicted[answers.present]
    if metric == "accuracy":
        return np.stack([(true == predicted).astype(float), np.ones(len(true))], axis=1)
    return np.eye(4)[2 * predicted + true]


def score(sums: np.ndarray, metric: str) -> np.ndarray:
    """The metric of counts that were summed over rows: (..., C) to (...)."""
    if metric == "accuracy":
        return sums[..., 0] / sums[..., 1]
    if metric == "f1":
        right, found, gold = np.moveaxis(sums, -1, 0)
        return 2 * right / np.maximum(found + gold, 1)
    tn, fn, fp, tp = np.moveaxis(sums, -1, 0)
    below = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return (tp * tn - fp * fn) / np.where(below == 0, 1, below)


def resampled(sides: Sequence[Sequence[np.ndarray]], metric: str, resamples: int = RESAMPLES) -> np.ndarray:
    """Scores of sides, each the mean over its seeds, on test rows drawn with replacement: (sides, resamples).

    Each resample takes the same rows on all sides and in all seeds, so that differences between sides are paired (Efron and
    Tibshirani 1993, chapter 8).

    Args:
        sides: of each side, for each seed, counts of the same rows.
    """
    rows = len(sides[0][0])
    drawn = np.random.default_rng(0).multinomial(rows, np.full(rows, 1 / rows), size=resamples).astype(np.float32)
    return np.stack([np.mean([score(drawn @ one.astype(np.float32), metric) for one in seeds], 0) for seeds in sides])
