"""What predictions depend on besides the texts, in a few hashes: equal ones give the same predictions."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import torch
import transformers

import trunkline
from trunkline.model.branch import Branch
from trunkline.model.branch_file import JSON, WEIGHTS
from trunkline.model.bundle import Bundle


def identity_of(bundle: Bundle) -> dict[str, Any]:
    """Return the versions, the trunk and the branches of a bundle as JSON."""
    trunk = bundle.trunk
    made = {
        "versions": {module.__name__: str(module.__version__) for module in (trunkline, torch, transformers)},
        "trunk": {
            **dataclasses.asdict(trunk.fingerprint),
            "stack": trunk.stack,
            "passes": [
                (sorted(one.branches), one.trunk.precision, one.precision, one.trunk.backend) for one in bundle.plan.passes
            ],
            "device": torch.device(trunk.device).type,
        },
        "branches": {name: digest_of(branch) for name, branch in bundle.branches.items()},
    }
    return dict(json.loads(json.dumps(made)))


def digest_of(branch: Branch) -> str:
    """Return the sha256 of a branch, in hex: of its files, or of what would be in them where it is not saved."""
    found = hashlib.sha256()
    if branch.path is not None and (branch.path / WEIGHTS).is_file():
        for name in (JSON, WEIGHTS):
            with open(branch.path / name, "rb") as file:
                found.update(hashlib.file_digest(file, "sha256").digest())
        return found.hexdigest()
    described = (branch.task.state(), branch.source.described(branch.method), branch.trunk.described())
    read = branch.max_length, branch.precision, branch.text, branch.text_pair
    found.update(json.dumps([*described, *read], sort_keys=True, default=repr).encode())
    for name, value in sorted(branch.weights().items()):
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
