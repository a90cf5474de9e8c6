"""What each layer of each token contributed to the answer for some texts, of methods that can tell."""

from __future__ import annotations

import numpy as np

from trunkline.branches import SideBranch
from trunkline.explain.drawing import drawn_texts
from trunkline.explain.section import Picture, Section, Table, drawn
from trunkline.explain.subject import Subject
from trunkline.model.contributions import contributions as told
from trunkline.pictures.contributions import MOST_TOKENS
from trunkline.pictures.contributions import contributions as panel

TITLE = "Contributions of layers and tokens"


def contributions(subject: Subject) -> Section:
    """A map of tokens by layers for each of a few texts: what was added to the logit of the predicted label."""
    branch, task = subject.branch, subject.task
    if type(branch.module).contributions is SideBranch.contributions:
        return Section(TITLE, note=f"the method, {branch.method.name}, does not tell what layers contribute to an answer")
    if task.answers.level != "text":
        return Section(TITLE, note=f"contributions are told of texts, and a {task.kind} task answers for words")
    texts, pairs = drawn_texts(subject)
    answers = subject.bundle.predict_written(texts, pairs)
    pictures = []
    for number, (found, answer) in enumerate(zip(told(subject.bundle, subject.name, texts, pairs), answers, strict=True), 1):
        label = _label(found.labels, found.values, answer[subject.name].get("label"))
        values = found.values[:, :, label]
        rows = [
            (token, layer, float(values[place, i]))
            for place, token in enumerate(found.tokens)
            for i, layer in enumerate(found.layers)
        ]
        table = Table(f"contributions_{number}", ("token", "layer", "contribution"), rows, shown=0)
        name = found.labels[label]
        figure = drawn(panel(name, found.tokens, found.layers, values.tolist()))
        pictures.append(Picture(figure, table, f"A map of {len(found.tokens)} tokens by {len(found.layers)} layers."))
    note = (
        "For each text, what each layer of each token added to the logit of the label in the title (or took from it, below 0). "
        f"Pictures have the first {MOST_TOKENS} tokens, files all."
    )
    return Section(TITLE, pictures, note=note)


def _label(labels: list[str], values: np.ndarray, predicted: str | None) -> int:
    """The label that is predicted; of tasks with several, the one with the largest sum of contributions."""
    return labels.index(predicted) if predicted in labels else int(values.sum((0, 1)).argmax())
