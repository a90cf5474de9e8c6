"""A branch that changes its trunk, written for other libraries: transformers, the peft library or the adapters package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from trunkline.errors import BadInput
from trunkline.export.base import targets
from trunkline.export.transformers import check_plain
from trunkline.files import new_folder
from trunkline.model.branch import Branch
from trunkline.model.decision import thresholds_of
from trunkline.trunk.source import public_name
from trunkline.tuners import TunedTrunk

MERGED = "transformers"  # the target of what is merged into plain weights


def export_branch(branch: Branch, folder: Path, *, merge: bool = False) -> str:
    """Write `branch` as the library of its method loads it, with a model card; return the name of its target.

    Args:
        branch: of a method that changes the trunk, with the plain head.
        folder: new or empty.
        merge: fold what a method of the peft library has learned into plain weights, for transformers alone.

    Raises:
        BadInput: no other library has what this branch has, or something is in the folder; nothing is written then.
        TrunklineError: what was written answers differently; nothing is left of it.
    """
    new_folder(folder)
    where, tuned, task = branch.path or f"branch {branch.task.name}", branch.source, branch.task
    if not isinstance(tuned, TunedTrunk):
        raise BadInput(
            f"{where}: its method {branch.method.name} is a side branch, which no other library can load; "
            "expected a branch of a method that changes the trunk, or --format onnx (export_onnx)"
        )
    if any(True for _ in branch.criterion.parameters()):
        raise BadInput(f"{where}: its task has a CRF, which no other library can load; expected one without")
    if branch.method.head != "plain":
        raise BadInput(
            f"{where}: its head is {branch.method.head.name}, which no other library can load; expected the plain head"
        )
    if task.answers.joined:
        raise BadInput(
            f"{where}: it reads all windows of a long text (long_texts: {task.long_texts}), which no other library does; "
            "expected a branch with long_texts: first"
        )
    head: Any = branch.module
    try:
        check_plain(head)
        if merge and not tuned.tuner.merges:
            raise BadInput(
                f"method {branch.method.name}: adds layers that cannot be merged into the trunk's weights; "
                "omit --merge (merge=True)"
            )
        name = MERGED if merge else tuned.tuner.target
        targets.get(name).write(branch, folder, units=task.scale, title=task.name, facts=facts(branch))
        return name
    except BadInput as error:
        raise error.at(str(where)) from error


def loading(branch: Branch, target: str, folder: str) -> list[str]:
    """Lines of Python that load, on this machine, what `export_branch` has written to `folder` for `target`."""
    return targets.get(target).loading(branch, folder)


def facts(branch: Branch) -> dict[str, dict[str, Any]]:
    """What a model card tells of a branch; it does not know its data."""
    task, trunk = branch.task, branch.trunk
    about: dict[str, Any] = {"name": task.name, "kind": task.kind, "labels": ", ".join(task.labels)}
    about |= _decided(branch) | {"tokens at most": branch.max_length, "precision": branch.precision}
    method = branch.method.model_dump(mode="json", exclude_none=True, exclude={"specs"})
    method |= {key: _names(method[key]) for key in getattr(branch.method, "PATHS", ()) if key in method}
    of_trunk = {
        "name": public_name(trunk.name, trunk.revision),
        "revision": trunk.revision,
        "stack": trunk.stack,
        "sha256 of its weights": trunk.weights,
    }
    scores = {
        split: {name: value for name, value in found.items() if not isinstance(value, dict)}
        for split, found in branch.metrics.items()
    }
    sections = {"task": about, "method": method, "trunk": of_trunk, "metrics": scores, "cost": branch.cost}
    return {
        section: {key: value for key, value in values.items() if value is not None}
        for section, values in sections.items()
        if values
    }


def _decided(branch: Branch) -> dict[str, Any]:
    """How its answers are made of the logits that another library gives: a temperature, and thresholds of the probabilities
    there, which no temperature divides.
    """
    task, decision = branch.task, branch.decision
    temperature = None if decision is None else decision.temperature
    found: dict[str, Any] = {} if temperature is None else {"temperature of calibrated probabilities": temperature}
    if (thresholds := thresholds_of(task, decision)) is None:
        return found
    logits = np.log(thresholds / (1 - thresholds)) * (temperature or 1.0)
    plain = (1 / (1 + np.exp(-logits))).tolist()
    if len(set(plain)) == 1:
        return {"threshold": plain[0], **found}
    return {"thresholds": dict(zip(task.labels, plain, strict=True)), **found}


def _names(paths: Any) -> Any:
    """The names of what paths lead to: the rest says nothing elsewhere."""
    if isinstance(paths, dict):
        return {key: Path(path).name for key, path in paths.items()}
    return [Path(path).name for path in paths] if isinstance(paths, list) else Path(paths).name
