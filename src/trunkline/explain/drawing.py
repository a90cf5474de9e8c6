"""Which texts are shown token by token: those that a user gives, or a few of the data, drawn by the seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trunkline.explain.answers import in_words, tag_at
from trunkline.explain.subject import Subject
from trunkline.tasks import Task

TEXTS = 4  # that are drawn
LONGEST = 300  # characters of a drawn text, if there are enough so short: a longer one fills a page


@dataclass(frozen=True)
class Answered:
    """The answer to a text, or to a word of it.

    Attributes:
        row: where the text is among the rows of the page, in words; None if the user has given it.
        predicted, right: in words; None where that is not known.
        confidence: as of `ShownAnswers`; None where it is not known, and of numbers.
    """

    row: str | None
    predicted: str | None
    right: str | None
    confidence: float | None

    def caption(self) -> str:
        """In a sentence."""
        sure = "" if self.confidence is None else f" (confidence {self.confidence:.2f})"
        parts = [] if self.predicted is None else [f"predicted: {self.predicted}{sure}"]
        parts += [] if self.right is None else [f"right: {self.right}"]
        where = "" if self.row is None else f"{self.row[:1].upper()}{self.row[1:]}: "
        return f"{where}{'; '.join(parts) or 'no answer'}."


@dataclass(frozen=True)
class Drawn:
    """The texts, the second text of each where the branch reads pairs, and which rows they are; None: given by the user."""

    subject: Subject
    texts: list[str]
    pairs: list[str] | None
    rows: list[int] | None

    def answered(self) -> list[Answered]:
        """The answer to each text."""
        subject = self.subject
        if self.rows is None:
            said = [one[subject.name] for one in subject.bundle.predict_written(self.texts, self.pairs)]
            return [Answered(None, in_words(subject.task, one), None, one.get("score")) for one in said]
        answers, found = subject.answers, []
        for row in self.rows:
            place = int(np.searchsorted(answers.texts, row))
            sure = None if answers.confidence is None else float(answers.confidence[place])
            found.append(Answered(subject.rows.where(row), answers.given[place], answers.right[place], sure))
        return found

    def tagged(self, number: int, start: int, predicted: str) -> Answered:
        """That to the word at a character of a text; `predicted` if nothing is known of it."""
        if self.rows is None:
            return Answered(None, predicted, None, None)
        tag, right, sure = tag_at(self.subject.task, self.subject.rows, self.rows[number], start)
        return Answered(self.subject.rows.where(self.rows[number]), tag or predicted, right, sure)


def drawn_texts(subject: Subject) -> Drawn:
    """The texts that are given, else rows that have a right answer: those first that the branch reads as one sequence if it
    would read all windows, then those with a predicted entity, then short ones.
    """
    if subject.texts is not None:
        return Drawn(subject, list(subject.texts), None, None)
    corpus, targets = subject.rows.corpus, subject.rows.targets
    mixed = np.random.default_rng(subject.seed).permutation(subject.answers.texts)
    keys = [np.array([len(text) > LONGEST for text in corpus.texts], bool)]
    if targets.offsets is not None:
        entities = np.concatenate([[0], np.cumsum(subject.rows.decoded.values > 0)])[targets.offsets]
        keys.append(np.diff(entities) == 0)
    if subject.task.answers.joined:
        keys.append(subject.encoded.longer)
    rows = np.sort(mixed[np.lexsort([key[mixed] for key in keys])][:TEXTS]).tolist()
    pairs = None if corpus.pairs is None else [corpus.pairs[row] for row in rows]
    return Drawn(subject, [corpus.texts[row] for row in rows], pairs, rows)


def titled(task: Task, label: str, answer: Answered) -> str:
    """What a picture of a text is headed by: the label that is explained; of a number, which has none, the number."""
    return answer.predicted if task.named_labels is None and answer.predicted is not None else label
