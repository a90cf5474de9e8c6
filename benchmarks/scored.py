"""The answers of runs on one test split, for intervals and paired comparisons by trunkline.studies.statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from trunkline.data.corpus import build_corpus
from trunkline.data.sources import read_table
from trunkline.data.values.tags import spans_to_tags
from trunkline.model.bundle import Bundle
from trunkline.studies.statistics import Answers, resample


def predicted(run: Path, test: str, like: Answers) -> Answers:
    """What the only branch of a folder that has kept no answers, such as an ensemble, says of the rows of other answers.

    Args:
        run: the folder.
        test: a file, or an embedded name, with the columns `text` or `tokens`.
        like: of another branch, on all rows of `test`.
    """
    bundle, table = Bundle.open(run), read_table(test)
    [name] = bundle.branches
    if like.kind != "token":
        numbers = {label: number for number, label in enumerate(like.labels)}
        found = [numbers[answer[name]["label"]] for answer in bundle.predict(table.columns["text"])]
        return replace(like, predicted=np.array(found))
    numbers = {"O": 0} | {f"{tag}-{label}": 1 + 2 * i + j for i, label in enumerate(like.labels) for j, tag in enumerate("BI")}
    corpus = build_corpus(table, text=None, tokens="tokens")
    units = corpus.units or []
    answers = bundle.predict(corpus.texts, units=units)
    tags = [spans_to_tags(answer[name]["spans"], own).tags for answer, own in zip(answers, units, strict=True)]
    return replace(like, predicted=np.array([numbers[tag] for own in tags for tag in own]))


def drawn_again(sides: Mapping[str, Sequence[Answers]]) -> dict[str, np.ndarray]:
    """Of each side, the mean score over its seeds on test rows that are drawn again, the same for all: (resamples,).

    So the differences between sides are paired (Efron and Tibshirani 1993, chapter 8).
    """
    return {name: one.resampled.mean(axis=0) for name, one in resample(sides).items()}


def scores(runs: Sequence[Answers]) -> list[float]:
    """The score of each run on the test rows."""
    return [float(score) for score in resample({"runs": runs}, resamples=1)["runs"].observed]
