"""A table and the predictions of the branches of a bundle for each of its rows (table_scores.py scores them)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trunkline.data.empty import EmptyTexts
from trunkline.data.table import Table
from trunkline.errors import listed
from trunkline.model.bundle import Bundle
from trunkline.model.decision import checked_confidence
from trunkline.model.noticed import Noticed
from trunkline.model.prepared import prepare
from trunkline.model.rows import Row


def predict_table(
    bundle: Bundle,
    table: Table,
    columns: Mapping[str, str] | None = None,
    scores: bool = False,
    *,
    empty_texts: EmptyTexts = "skip",
    noticed: Noticed | None = None,
    words: bool = False,
    min_confidence: float | None = None,
) -> list[Row]:
    """Return a row of output for each row of `table`: what it held itself, then the prediction of every branch.

    Character offsets in a prediction are of the text in the row.

    Args:
        bundle: the branches.
        table: what to predict.
        columns: the columns to read where they are not those that a branch was trained on, by role (see `renamed_columns`).
        scores: give the score of every label, not only of those chosen.
        empty_texts: whether a row without a text gets empty predictions, or is refused.
        noticed: what is counted.
        words: give the words of each text, and their tags, of a bundle of one token task.
        min_confidence: from 0 to 1: what a branch is less confident of gets no answer (see `withheld` in decision.py).

    Raises:
        BadInput: the table is not what some branch reads; `min_confidence` is no such number, or no branch has probabilities.
    """
    noticed = Noticed() if noticed is None else noticed
    least = least_confidence(bundle, min_confidence, noticed)
    prepared = prepare(bundle, table, columns, empty_texts=empty_texts, noticed=noticed)
    return [row for part in prepared for row in part.rows(part.ask(bundle, scores, least), words)]


def least_confidence(bundle: Bundle, min_confidence: Any, noticed: Noticed) -> float | None:
    """Return a least confidence, checked; which branches have none is noticed."""
    tasks = {name: branch.task for name, branch in bundle.branches.items()}
    least = checked_confidence(min_confidence, tasks.values())
    if least is not None and (numbers := [name for name, task in tasks.items() if task.confidence is None]):
        predict = "predicts" if len(numbers) == 1 else "predict"
        noticed.read[f"{listed(numbers, 8, whole=True)} {predict} numbers, which have no confidence."] = None
    return least
