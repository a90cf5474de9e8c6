"""Other names for the labels of a saved branch: branch.json and its digests are rewritten, the weights stay as they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trunkline.errors import BadInput, literal
from trunkline.files import atomic_directory
from trunkline.model.branch_file import JSON, WEIGHTS, read_branch_file, write_branch_file
from trunkline.tasks import Task
from trunkline.tasks.label_types import in_type
from trunkline.tasks.labels import unknown_label


def relabel(path: str | Path, names: Mapping[str, str]) -> list[str]:
    """Rename labels (entity types of a token task) of the branch in the directory `path`, atomically.

    Args:
        path: of the branch.
        names: new names by the old ones, all at once, so that two can be exchanged.

    Returns:
        The labels, in the order they have.

    Raises:
        BadInput: no branch, one that has other files beside its own, no such label, or a name that is taken or cannot be shown.
    """
    path = Path(path)
    described, stored = read_branch_file(path)
    if others := sorted(file.name for file in path.iterdir() if file.name not in (JSON, WEIGHTS)):
        raise BadInput(
            f"{path}: found {literal(others[0])} in the folder of the branch, which would be lost; expected the branch alone"
        )
    task: Any = Task.from_state(described["name"], described["task"])
    labels = getattr(task, "types", task.labels)
    if task.kind == "regression":
        raise BadInput(f"{path}: its task is a regression, which has no labels; expected a branch with labels")
    for old, new in names.items():
        if old not in labels:
            raise unknown_label(str(path), old, labels)
        if not new.strip() or not new.isprintable():
            raise BadInput(f"{path}: found {literal(new)} for {literal(old)}, expected a name of printable characters")
    renamed = [names.get(label, label) for label in labels]
    for label in renamed:
        if renamed.count(label) > 1:
            raise BadInput(f"{path}: two labels would be called {literal(label)}, expected each name once")
    state = described["task"]
    if task.kind == "token":
        state["labels"] = [tag if tag == "O" else tag[:2] + names.get(tag[2:], tag[2:]) for tag in state["labels"]]
    else:
        state["labels"] = renamed
    for key in ("label_list", "labels"):  # of the config: a list of labels, or of columns that are called as they are
        if isinstance(listed := state["config"].get(key), list):
            state["config"][key] = [names.get(label, label) for label in listed]
    if (positive := state["config"].get("positive")) is not None:
        state["config"]["positive"] = names.get(positive, positive)
    if isinstance(weights := state["config"].get("class_weights"), dict):
        state["config"]["class_weights"] = {names.get(label, label): weight for label, weight in weights.items()}
    for scores in described.get("metrics", {}).values():
        if isinstance(rows := scores.get("by_label"), dict):
            scores["by_label"] = {names.get(label, label): row for label, row in rows.items()}
        if isinstance(rows := scores.get("confusion"), dict):
            scores["confusion"] = {
                names.get(true, true): {names.get(label, label): count for label, count in row.items()}
                for true, row in rows.items()
            }
    if None in in_type(state["labels"], state.get("label_type")):
        del state["label_type"]  # they are names now
    Task.from_state(described["name"], state)  # refused here if it could not be read again
    tensors = stored.load()
    with atomic_directory(path) as temporary:
        write_branch_file(temporary, described, tensors)
        read_branch_file(temporary)
    return renamed
