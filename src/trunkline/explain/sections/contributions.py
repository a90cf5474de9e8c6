"""What each layer of each token contributed to the answer for some texts, of methods that can tell."""

from __future__ import annotations

import numpy as np

from trunkline.branches import SideBranch
from trunkline.errors import BadInput
from trunkline.explain.drawing import drawn_texts, titled
from trunkline.explain.subject import Subject
from trunkline.model.contributions import contributions as told
from trunkline.model.contributions import tells_contributions
from trunkline.pages.section import Picture, Section, Table, drawn, with_values
from trunkline.pictures.contributions import MOST_TOKENS
from trunkline.pictures.contributions import contributions as panel

TITLE = "Contributions of layers and tokens"
ABOUT = ("picture", "row", "explained", "predicted", "confidence", "right")


def contributions(subject: Subject) -> Section:
    """A map of tokens by layers for each of a few texts: what was added to the logit of the predicted label."""
    branch, task = subject.branch, subject.task
    if not tells_contributions(branch.module):
        return Section(TITLE, note=f"the method, {branch.method.name}, does not tell what layers contribute to an answer")
    if task.answers.level != "text":
        return Section(TITLE, note=f"contributions are told of texts, and a {task.kind} task answers for words")
    texts = drawn_texts(subject)
    try:
        found_all = told(subject.bundle, subject.name, texts.texts, texts.pairs)
    except BadInput as error:
        return Section(TITLE, note=str(error))
    pictures, about = [], []
    for number, (found, answer) in enumerate(zip(found_all, texts.answered(), strict=True), 1):
        label = _label(found.labels, found.values, answer.predicted)
        values, explained = found.values[:, :, label], found.labels[label]
        rows = [
            (token, layer, float(values[place, i]))
            for place, token in enumerate(found.tokens)
            for i, layer in enumerate(found.layers)
        ]
        name = f"contributions_{number}"
        table = Table(name, ("token", "layer", "contribution"), rows, answer.caption(), shown=0)
        figure = drawn(panel(titled(task, explained, answer), found.tokens, found.layers, values.tolist(), answer.right))
        pictures.append(Picture(figure, table, f"A map of {len(found.tokens)} tokens by {len(found.layers)} layers."))
        about.append((name, answer.row, explained, answer.predicted, answer.confidence, answer.right))
    if type(branch.module).contributions is SideBranch.contributions:
        note = (
            "For each text, what each layer of each token adds to the logit of the label in the title, or takes from it. The "
            "numbers of a text add up to that logit, less the logit of a text without features: the linear path is a sum over "
            "layers and tokens already, and the rest is divided by integrated gradients of the head."
        )
    else:
        note = (
            "For each text, what each layer of each token contributes to the label in the title, or speaks against it, as the "
            f"method, {branch.method.name}, tells it: in standard deviations over the text."
        )
    table = with_values("contributions", ABOUT, about)
    return Section(TITLE, pictures, [table], f"{note} Pictures have the first {MOST_TOKENS} tokens, files all.")


def _label(labels: list[str], values: np.ndarray, predicted: str | None) -> int:
    """The label that is predicted; of tasks with several, the one with the largest sum of contributions."""
    return labels.index(predicted) if predicted in labels else int(values.sum((0, 1)).argmax())
