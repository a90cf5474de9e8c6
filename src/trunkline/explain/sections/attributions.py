"""Which words the answers for some texts rest on: integrated gradients through the branch and its trunk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trunkline.errors import BadInput
from trunkline.explain.drawing import Answered, Drawn, drawn_texts, titled
from trunkline.explain.subject import Subject
from trunkline.model.attributions import Attribution, attempted
from trunkline.pages.section import Picture, Section, Table, drawn, with_values
from trunkline.pictures.attributions import MOST_WORDS
from trunkline.pictures.attributions import attributions as panel
from trunkline.tasks import Task

TITLE = "Attributions of words"
ABOUT = (
    "picture", "row", "explained", "word", "predicted", "confidence", "right",
    "output", "baseline", "sum_of_attributions", "convergence_delta",
)  # fmt: skip


def attributions(subject: Subject) -> Section:
    """The words of a few texts, shaded by what they add to the logit of the predicted label or take from it."""
    texts = drawn_texts(subject)
    try:
        found = attempted(subject.bundle, subject.name, texts.texts, texts.pairs)
    except BadInput as error:
        return Section(TITLE, note=str(error))
    refused = [one for one in found if isinstance(one, BadInput)]
    without = _without(refused, len(found))
    if without:
        subject.say(f"{subject.name}: attributions of words: {without}")
    if len(refused) == len(found):
        return Section(TITLE, note=without)
    answers = None if subject.task.answers.units else texts.answered()
    pictures, about = list[Picture](), list[list[Any]]()
    for number, one in enumerate(found):
        if isinstance(one, Attribution):
            answer = _tagged(texts, number, one) if answers is None else answers[number]
            picture, row = _shown(subject.task, f"attributions_{len(pictures) + 1}", one, answer)
            pictures.append(picture)
            about.append(row)
    return Section(TITLE, pictures, [with_values("attributions", ABOUT, about)], _note(subject, without))


def _without(refused: Sequence[BadInput], count: int) -> str:
    """What is said of texts that are left out."""
    if not refused:
        return ""
    are = "is" if len(refused) == 1 else "are"
    return f"{len(refused)} of {count} text{'' if count == 1 else 's'} {are} left out; {refused[0]}."


def _tagged(texts: Drawn, number: int, one: Attribution) -> Answered:
    assert one.tagged is not None and one.tagged.start is not None
    return texts.tagged(number, one.tagged.start, one.predicted)


def _shown(task: Task, name: str, one: Attribution, answer: Answered) -> tuple[Picture, list[Any]]:
    """The picture of a text, and its row in the table of all."""
    rows: list[tuple[str, int | None, int | None, float]] = [
        (word.text, word.start, word.end, word.value) for word in one.words
    ]
    rows.append(("(special tokens)", None, None, one.others))
    tagged = None if one.tagged is None else one.tagged.text
    label = titled(task, one.label, answer) if tagged is None else f"{one.label} of {tagged}"
    table = Table(name, ("word", "start", "end", "attribution"), rows, answer.caption(), shown=0)
    figure = drawn(panel(label, [word.text for word in one.words], [word.value for word in one.words], answer.right))
    alt = f"A text of {len(one.words)} words; the darker a word, the more it speaks for (+) or against (-) the label."
    numbers = (one.output, one.baseline, float(one.values.sum()), one.delta)
    about = [name, answer.row, one.label, tagged, answer.predicted, answer.confidence, answer.right, *numbers]
    return Picture(figure, table, alt), about


def _note(subject: Subject, without: str) -> str:
    what = "the predicted number" if subject.task.named_labels is None else "the logit of the label in the title"
    note = (
        f"For each text, what each word adds to {what} (+, solid border) or takes from it (-, dashed border), by integrated "
        "gradients (Sundararajan et al. 2017) from a text of padding tokens. The numbers of a text add up to output - "
        f"baseline, but for the convergence delta. Pictures have the first {MOST_WORDS} words, files all."
    )
    if subject.task.answers.units:
        note += (
            " Explained is the tag of one word: of the words that are predicted another tag than O, the one that is most "
            "probably not O. Where none is, the most probable other tag of such a word is explained, although O is predicted."
        )
    return f"{note} {without[:1].upper()}{without[1:]}".rstrip()
