"""How much each layer counts for a branch, and beside it nu, how far each layer separates the classes by itself."""

from __future__ import annotations

import numpy as np

from trunkline.branches.nu import INSEPARABLE, nu_by_layer
from trunkline.errors import BadInput
from trunkline.explain.subject import Subject
from trunkline.pages.section import Picture, Section, Table, drawn
from trunkline.pictures.by_layer import by_layer
from trunkline.pictures.layers import layers as shares

TITLE = "Layers"


def layers(subject: Subject) -> Section:
    """The distribution over layers, what else the method has measured of them, and nu on the labelled rows."""
    branch, task = subject.branch, subject.task
    every = tuple(range(branch.trunk.num_layers + 1))
    weights, reads = branch.layer_weights(), branch.module.wanted()
    measured, nu = branch.module.by_layer(), _nu(subject, every)
    pictures, said = [], []
    if len(weights) > 1:
        rows = [(layer, weights.get(layer, 0.0), int(layer in reads)) for layer in every]
        facts = {"layers": {str(layer): share for layer, share, _ in rows}, "reads": list(reads)}
        (panel,) = shares({task.name: facts})
        largest = max(weights, key=weights.__getitem__)
        alt = f"Bars: the share of each layer; layer {largest} has the largest, {weights[largest]:.0%}."
        pictures.append(Picture(drawn(panel), Table("layers", ("layer", "share", "read"), rows), alt))
        said.append("Share: how much each layer counts in what the branch reads; layer 0 is the embedding output.")
    else:
        said.append(f"The method, {branch.method.name}, has no shares of layers; it reads {_numbers(reads)}.")
    for number, (what, found) in enumerate(measured.items()):
        if what != "nu" or nu is None:  # which is measured anew, on the rows of this page
            own = [(layer, value) for layer, value in found.items()]
            table = Table(f"by_layer_{number + 1}", ("layer", what), own)
            pictures.append(Picture(drawn(by_layer(task.name, what, found)), table, f"Bars: {what} of each layer."))
    if nu is not None:
        lowest = min(nu, key=nu.__getitem__)
        table = Table("nu", ("layer", "nu"), list(nu.items()))
        alt = f"Bars: nu of each layer; layer {lowest} has the lowest, {nu[lowest]:.3g}."
        panel = by_layer(task.name, "hidden-state variability (nu)", nu, "nu (log scale)", True)
        pictures.append(Picture(drawn(panel), table, alt))
        said.append(
            f"nu (hidden-state variability, Xie et al. 2022) on rows of {subject.rows.source}, without any training: the "
            f"lower, the better a layer alone separates the classes. Layer {lowest} has the lowest."
        )
    return Section(TITLE, pictures, note=" ".join(said))


def _nu(subject: Subject, every: tuple[int, ...]) -> dict[int, float] | None:
    """nu of each layer of the states that the branch reads; None for numbers, and where the rows have one class only."""
    if subject.task.named_labels is None:
        return None
    try:
        found = nu_by_layer(subject.examples(every), every)
    except BadInput:
        return None
    values = np.minimum(found.numpy().astype(np.float64), INSEPARABLE)
    return dict(zip(every, values.tolist(), strict=True))


def _numbers(layers: tuple[int, ...]) -> str:
    return ("layer " if len(layers) == 1 else "layers ") + ", ".join(map(str, layers))
