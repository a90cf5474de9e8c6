"""What a branch or a trunk is, as plain values."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from trunkline.branches import methods
from trunkline.branches.ensemble import Ensemble
from trunkline.files import directory_bytes
from trunkline.model.branch import load_branch
from trunkline.model.pass_cost import pass_cost
from trunkline.trunk.load import Trunk


def branch_facts(path: Path) -> dict[str, Any]:
    """Return everything about a branch that is not a weight; the branch is loaded, so a broken one is refused."""
    branch = load_branch(path)
    modules: list[Any] = [branch.module, branch.criterion, branch.source]
    trained = {id(p): p.numel() for module in modules for p in module.parameters() if p.requires_grad}
    return {
        "branch": str(path),
        "task": branch.task.name,
        "kind": branch.task.kind,
        "labels": list(branch.task.labels),
        "method": branch.method.model_dump(mode="json"),
        "types": getattr(branch.task, "types", None),
        "parameters": sum(value.numel() for value in branch.weights().values()),
        "trained_parameters": sum(trained.values()),
        "bytes": directory_bytes(path),
        "layers": {str(layer): share for layer, share in branch.layer_weights().items()},
        "reads": list(branch.module.wanted()),
        "by_layer": {
            what: {str(layer): value for layer, value in found.items()} for what, found in branch.module.by_layer().items()
        },
        "pass": pass_cost(branch.module.wanted(), branch.trunk.described()),
        "trunk": asdict(branch.trunk),
        "input": branch.trunk.reads,
        "max_length": branch.max_length,
        "long_texts": branch.task.long_texts,
        "precision": branch.precision,
        "text": branch.text,
        "text_pair": branch.text_pair,
        "monitor": branch.task.monitor,
        "decision": None if branch.decision is None else branch.decision.model_dump(mode="json"),
        "positive": branch.task.positive,
        "metrics": branch.metrics,
        "cost": branch.cost,
        **({"members": _members(branch.module)} if isinstance(branch.module, Ensemble) else {}),
    }


def _members(ensemble: Ensemble) -> list[dict[str, Any]]:
    """Of each member its method, the weight of its logits, and those of its settings that are not the default ones."""
    found = []
    for section, weight in zip(ensemble.config.members, ensemble.weights, strict=True):
        config = methods.get(section["name"]).Config.model_validate(section)
        defaults = {key: field.get_default(call_default_factory=True) for key, field in type(config).model_fields.items()}
        other = {key: section[key] for key, value in defaults.items() if key != "name" and getattr(config, key) != value}
        found.append({"method": section["name"], "weight": weight, "settings": other})
    return found


def trunk_facts(trunk: Trunk) -> dict[str, Any]:
    """Return everything about a trunk that is not a weight."""
    found = trunk.fingerprint
    return {
        "trunk": trunk.name,
        "revision": trunk.revision,
        "architecture": trunk.architecture,
        "stack": trunk.stack,
        "layers": trunk.num_layers,
        "hidden_size": trunk.hidden_size,
        "parameters": sum(p.numel() for p in trunk.model.parameters()),
        "reads": trunk.reads,
        "vocabulary": trunk.vocabulary,
        "dtype": trunk.dtype,
        "backend": trunk.backend,
        "device": str(trunk.device),
        "max_length": trunk.max_length,
        "longest_input": trunk.longest_input,
        **asdict(found),
    }
