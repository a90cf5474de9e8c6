"""Which words the answers for some texts rest on: integrated gradients through the branch and its trunk."""

from __future__ import annotations

from trunkline.errors import BadInput
from trunkline.explain.drawing import drawn_texts
from trunkline.explain.section import Picture, Section, Table, drawn
from trunkline.explain.subject import Subject
from trunkline.model.attributions import attributions as told
from trunkline.pictures.attributions import MOST_WORDS
from trunkline.pictures.attributions import attributions as panel

TITLE = "Attributions of words"
ABOUT = ("picture", "explained", "word", "output", "baseline", "sum_of_attributions", "convergence_delta")


def attributions(subject: Subject) -> Section:
    """The words of a few texts, shaded by what they add to the logit of the predicted label or take from it."""
    texts, pairs = drawn_texts(subject)
    try:
        found = told(subject.bundle, subject.name, texts, pairs)
    except BadInput as error:
        return Section(TITLE, note=str(error))
    pictures, about = [], []
    for number, one in enumerate(found, 1):
        name = f"attributions_{number}"
        rows: list[tuple[str, int | None, int | None, float]] = [
            (word.text, word.start, word.end, word.value) for word in one.words
        ]
        table = Table(
            name, ("word", "start", "end", "attribution"), [*rows, ("(special tokens)", None, None, one.others)], shown=0
        )
        tagged = None if one.tagged is None else one.tagged.text
        label = one.label if tagged is None else f"{one.label} of {tagged}"
        figure = drawn(panel(label, [word.text for word in one.words], [word.value for word in one.words]))
        alt = f"A text of {len(one.words)} words; the darker a word, the more it speaks for (+) or against (-) the label."
        pictures.append(Picture(figure, table, alt))
        about.append((name, one.label, tagged, one.output, one.baseline, float(one.values.sum()), one.delta))
    what = "the predicted number" if subject.task.named_labels is None else "the logit of the label in the title"
    note = (
        f"For each text, what each word adds to {what} (+, solid border) or takes from it (-, dashed border), by integrated "
        "gradients (Sundararajan et al. 2017) from a text of padding tokens. The numbers of a text add up to output - "
        f"baseline, but for the convergence delta. Pictures have the first {MOST_WORDS} words, files all."
    )
    if subject.task.answers.units:
        note += " Explained is the word that is most probably tagged."
    return Section(TITLE, pictures, [Table("attributions", ABOUT, about)], note)
