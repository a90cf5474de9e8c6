"""How the distribution over layers went during training, as the run has recorded it at every evaluation."""

from __future__ import annotations

from trunkline.explain.subject import Subject
from trunkline.pages.section import Picture, Section, Table, drawn
from trunkline.pictures.history import history as drawn_history

TITLE = "Layers over training"


def history(subject: Subject) -> Section:
    """The share of each layer at each evaluation, and which evaluation has the weights that were kept."""
    task = subject.task
    if len(subject.branch.layer_weights()) < 2:
        return Section(TITLE, note=f"the method, {subject.branch.method.name}, has no shares of layers")
    entries = [entry for entry in subject.history if entry["tasks"][task.name].get("layers")]
    if not entries:
        return Section(TITLE, note="there is no record of the training of this branch: it does not lie in its run")
    found = [{int(layer): share for layer, share in entry["tasks"][task.name]["layers"].items()} for entry in entries]
    layers = sorted({layer for shares in found for layer in shares})
    best = next((i for i in reversed(range(len(entries))) if entries[i]["tasks"][task.name].get("best")), None)
    rows = [
        (entry["step"], entry["epoch"], int(number == best), *(shares.get(layer, 0.0) for layer in layers))
        for number, (entry, shares) in enumerate(zip(entries, found, strict=True))
    ]
    table = Table("history", ("step", "epoch", "kept", *(f"layer_{layer}" for layer in layers)), rows, shown=0)
    epochs = [entry["epoch"] for entry in entries]
    by_epoch = len(set(epochs)) == len(epochs)
    panel = drawn_history(
        task.name,
        epochs if by_epoch else [entry["step"] for entry in entries],
        [[shares.get(layer, 0.0) for shares in found] for layer in layers],
        layers,
        "epoch" if by_epoch else "step",
        best,
    )
    alt = f"A map of {len(layers)} layers by {len(entries)} evaluations: the darker, the larger the share of a layer."
    note = "The share of each layer at every evaluation on validation; the triangle marks the weights that were kept."
    return Section(TITLE, (Picture(drawn(panel), table, alt),), note=note)
