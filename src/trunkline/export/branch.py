"""A branch that changes its trunk, written for other libraries: transformers, the peft library or the adapters package."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from trunkline.errors import BadInput
from trunkline.export import adapters as adapter_export
from trunkline.export import peft as peft_export
from trunkline.export import transformers as export
from trunkline.export.adapters import save_adapters
from trunkline.export.peft import save_adapter
from trunkline.export.transformers import check_plain, save_model
from trunkline.files import new_folder
from trunkline.model.branch import Branch
from trunkline.tasks.regression import RegressionTask
from trunkline.trunk.source import public_name
from trunkline.tuners import TunedTrunk
from trunkline.tuners.adapter import Adapter
from trunkline.tuners.adapters.heads import Kind
from trunkline.tuners.fusion import Fusion

Format = Literal["transformers", "peft", "adapters"]
# By kind of task, what transformers calls the problem (a config for tokens names none) and the adapters package the head.
PROBLEMS = {"sequence": "single_label_classification", "multilabel": "multi_label_classification", "regression": "regression"}
HEADS: dict[str, Kind] = {
    "sequence": "classification",
    "multilabel": "multilabel_classification",
    "regression": "classification",
    "token": "tagging",
}


def export_branch(branch: Branch, folder: Path, *, merge: bool = False) -> Format:
    """Write `branch` as the library of its method loads it, with a model card; return which library that is.

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
            f"{where}: its method {branch.method.name} reads the trunk as it is, which no other library does; "
            "expected a branch of a method that changes the trunk"
        )
    if any(True for _ in branch.criterion.parameters()):
        raise BadInput(f"{where}: its task has a CRF, which no other library loads; expected one without")
    if branch.method.head != "plain":
        raise BadInput(f"{where}: its head is {branch.method.head.name}, which no other library loads; expected the plain head")
    head: Any = branch.module
    try:
        check_plain(head)
        of_adapters = isinstance(tuned.tuner, (Adapter, Fusion))
        if merge and of_adapters:
            raise BadInput(
                f"method {branch.method.name}: adds layers that cannot be folded into the trunk's weights; "
                "leave out --merge (merge=True)"
            )
        units = (task.learned.mean, task.learned.std) if isinstance(task, RegressionTask) else None
        given: dict[str, Any] = {"units": units, "title": task.name, "facts": facts(branch)}
        if of_adapters:
            save_adapters(tuned.trunk, tuned, head, task.labels, folder, name=task.name, kind=HEADS[task.kind], **given)
            return "adapters"
        if not merge and getattr(tuned.tuner, "peft_config", None) is not None:
            save_adapter(tuned.trunk, tuned, head, task.labels, folder, problem_type=PROBLEMS.get(task.kind), **given)
            return "peft"
        save_model(tuned.trunk, tuned, head, task.labels, folder, problem_type=PROBLEMS.get(task.kind), **given)
        return "transformers"
    except BadInput as error:
        raise error.at(str(where)) from error


def loading(branch: Branch, library: Format, folder: str) -> list[str]:
    """Lines of Python that load, on this machine, what `export_branch` has written to `folder` for `library`."""
    head: Any = branch.module
    if library == "transformers":
        return export.loading(head.output.level, folder)
    assert isinstance(branch.source, TunedTrunk)
    source, tuner = branch.source.trunk, branch.source.tuner
    # An alias is a name of Trunkline's own, which other libraries do not know; the folder that it leads to they do.
    trunk = (source.name, source.revision) if source.revision else (str(source.folder.absolute()), None)
    if library == "peft":
        return peft_export.loading(head, branch.task.labels, folder, *trunk, problem_type=PROBLEMS.get(branch.task.kind))
    assert isinstance(tuner, (Adapter, Fusion))
    return adapter_export.loading(tuner, branch.task.name, folder, *trunk)


def facts(branch: Branch) -> dict[str, dict[str, Any]]:
    """What a model card tells of a branch; it does not know its data."""
    task, trunk = branch.task, branch.trunk
    about: dict[str, Any] = {"name": task.name, "kind": task.kind, "labels": ", ".join(task.labels)}
    if task.kind == "multilabel":
        about["threshold"] = task.learned.threshold  # the libraries' own is 0.5
    about |= {"tokens at most": branch.max_length, "precision": branch.precision}
    method = branch.method.model_dump(mode="json", exclude_none=True, exclude={"specs"})
    method |= {key: _names(method[key]) for key in getattr(branch.method, "PATHS", ()) if key in method}
    of_trunk = {
        "name": public_name(trunk.name, trunk.revision),
        "revision": trunk.revision,
        "stack": trunk.stack,
        "sha256 of its weights": trunk.weights,
    }
    scores = {
        split: {name: value for name, value in found.items() if name != "by_label"} for split, found in branch.metrics.items()
    }
    sections = {"task": about, "method": method, "trunk": of_trunk, "metrics": scores, "cost": branch.cost}
    return {
        section: {key: value for key, value in values.items() if value is not None}
        for section, values in sections.items()
        if values
    }


def _names(paths: Any) -> Any:
    """The names of what paths lead to: the rest says nothing elsewhere."""
    if isinstance(paths, dict):
        return {key: Path(path).name for key, path in paths.items()}
    return [Path(path).name for path in paths] if isinstance(paths, list) else Path(paths).name
