"""Texts with their answers: wrong ones that the branch is sure of, and right and wrong ones drawn at random by seed."""

from __future__ import annotations

import numpy as np

from trunkline.explain.answers import ShownAnswers
from trunkline.explain.rows import Rows
from trunkline.explain.subject import Subject
from trunkline.pages.section import Section, Table

TITLE = "Texts"
CONFIDENT, DRAWN = 20, 10  # texts of a table


def texts(subject: Subject) -> Section:
    """Tables of texts: the most confident errors, then errors and right answers drawn at random."""
    answers = subject.answers
    draw = np.random.default_rng(subject.seed)
    if answers.error is not None:
        largest = np.argsort(-answers.error, kind="stable")[:CONFIDENT]
        drawn = np.sort(draw.permutation(len(answers.texts))[:DRAWN])
        return Section(
            TITLE,
            tables=(
                _table("largest_errors", "The largest errors.", subject.rows, answers, largest),
                _table("drawn", f"Texts drawn at random (seed {subject.seed}).", subject.rows, answers, drawn),
            ),
        )
    wrong, right = np.flatnonzero(~answers.correct), np.flatnonzero(answers.correct)
    tables = []
    for name, caption, chosen in (
        ("wrong_confident", "Wrong, the most confident first.", _sure(answers, wrong)),
        ("wrong_drawn", f"Wrong, drawn at random (seed {subject.seed}).", np.sort(draw.permutation(wrong)[:DRAWN])),
        ("right_drawn", f"Right, drawn at random (seed {subject.seed}).", np.sort(draw.permutation(right)[:DRAWN])),
    ):
        if len(chosen):
            tables.append(_table(name, caption, subject.rows, answers, chosen))
    note = f"{len(right):,} of {len(answers.texts):,} texts are answered right"
    note += " as a whole" if subject.task.answers.units or subject.task.kind == "multilabel" else ""
    if subject.task.answers.units:
        note += ". The confidence of a wrong answer is the probability of its most probable wrong tag, of a right one that of "
        note += "its least probable tag"
    return Section(TITLE, tables=tables, note=f"{note}.")


def _sure(answers: ShownAnswers, wrong: np.ndarray) -> np.ndarray:
    assert answers.confidence is not None
    return wrong[np.argsort(-answers.confidence[wrong], kind="stable")][:CONFIDENT]


def _table(name: str, caption: str, rows: Rows, answers: ShownAnswers, chosen: np.ndarray) -> Table:
    pairs, measure = rows.corpus.pairs, "confidence" if answers.error is None else "error"
    measured = answers.confidence if answers.error is None else answers.error
    assert measured is not None
    columns = ("row", "text", *(() if pairs is None else ("second text",)), "right", "predicted", measure)
    made = []
    for one in chosen.tolist():
        text = int(answers.texts[one])
        second = () if pairs is None else (pairs[text],)
        made.append(
            (rows.where(text), rows.corpus.texts[text], *second, answers.right[one], answers.given[one], float(measured[one]))
        )
    return Table(name, columns, made, caption)
