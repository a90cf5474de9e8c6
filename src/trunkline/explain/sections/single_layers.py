"""A branch for each single layer, trained from the same states, beside the branch itself."""

from __future__ import annotations

from typing import Any

from trunkline.errors import BadInput
from trunkline.events import Preparing
from trunkline.explain.subject import Subject
from trunkline.pages.section import Picture, Section, Table, drawn
from trunkline.pictures.single_layers import single_layers as panel
from trunkline.training.single_layers import fit_single_layers

TITLE = "Every layer alone"


def single_layers(subject: Subject) -> Section:
    """Scores of a branch that reads one layer, for each layer; the best is chosen on validation and reported on test."""
    task, branch = subject.task, subject.branch
    if branch.source.trunk is not None:
        return Section(TITLE, note=f"the method, {branch.method.name}, changes the trunk, whose layers these would read")
    if not subject.single_layers:
        return Section(TITLE, note="--single-layers (single_layers=True in Python) trains a branch for each layer alone")
    if subject.run is None:
        return Section(TITLE, note="this branch does not lie in its run, whose data they would be trained on")
    subject.publish(Preparing(f"{task.name}: training a branch for each of {branch.trunk.num_layers + 1} layers"))
    try:
        found = fit_single_layers(subject.run, task.name, subject.publish)
    except BadInput as error:
        subject.say(f"{task.name}: no branches of single layers were trained: {error}")
        return Section(TITLE, note=f"they could not be trained: {error}")
    metric = found.metric
    split = "test" if all("test" in scores for scores in found.scores.values()) and "test" in branch.metrics else "validation"
    rows = [
        {"layer": layer, **{name: scores[name].get(metric) if name in scores else None for name in ("validation", "test")}}
        for layer, scores in found.scores.items()
    ]
    own = {name: branch.metrics.get(name, {}).get(metric) for name in ("validation", "test")}
    columns = ("read", f"validation_{metric}", f"test_{metric}", "best_on_validation")
    numbers: list[tuple[Any, ...]] = [
        (f"layer {row['layer']}", row["validation"], row["test"], int(row["layer"] == found.chosen)) for row in rows
    ]
    numbers.append((branch.method.name, own["validation"], own["test"], None))
    table = Table("single_layers", columns, numbers)
    figure = drawn(panel(task.name, metric, split, rows, {"name": branch.method.name, **own}, found.chosen))
    note = (
        f"A branch of {found.parameters:,} weights for each layer alone, with the head and the training of this one, from the "
        "same layer states; each keeps the weights that are best on validation."
    )
    if found.chosen is not None:
        best = next(row for row in rows if row["layer"] == found.chosen)
        said = {name: None if value is None else f"{value:.4f}" for name, value in best.items() if name != "layer"}
        note += f" Validation chooses layer {found.chosen}: {metric} {said['validation']}"
        note += f", on test {said['test']} ({branch.method.name}: {own['test']:.4f})." if said["test"] and own["test"] else "."
    alt = f"Bars: {metric} on {split} of {len(rows)} layers, each read alone, and of {branch.method.name}."
    return Section(TITLE, (Picture(figure, table, alt),), note=note)
