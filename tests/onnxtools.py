"""Branches on tiny trunks, their weights random, saved as a run would: what a graph is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from everykind import every_kind

from trunkline.branches import methods
from trunkline.model.branch import Branch, TrunkRef, save_branch
from trunkline.model.decision import Decision
from trunkline.model.part import build_branch
from trunkline.trunk.load import Trunk, load_trunk

TEXTS = [
    "a good film",
    "i'd like a table for two in PARIS tomorrow, please!",
    "sad",
    "čo je to za film? 이 영화 좋다 🙂",
    "it was not so good, and i feel very sad about it; it was slow",
]
ADA = {"name": "adalayers", "dim": 16, "heads": 4, "feed_forward": 24}
METHODS = {
    "mood": ADA,
    "flag": {"name": "head2toe", "layers": "1-2"},
    "topics": {**ADA, "cutoff": 0.2, "positions": True},
    "columns": {"name": "scalar_mix", "pooling": "last", "layer_norm": True},
    "stars": {"name": "routing", "vectors": 4, "dim": 8},
    "slots": {"name": "ladder", "reduction": 2, "heads": 4},
    "chained": {**ADA, "encoder_layers": 2},
}
DECISIONS = {
    "mood": {"rows": 9, "temperature": 1.7},
    "topics": {"rows": 9, "temperature": 0.6, "thresholds": (0.3, 0.5, 0.8)},
    "slots": {"rows": 9, "temperature": 2.0},
}


def shaken(*modules: torch.nn.Module) -> None:
    """Move all weights off their start, so that answers differ."""
    with torch.no_grad():
        for module in modules:
            for parameter in module.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.5)


def write_branch(trunk: Trunk, folder: Path, task: str, method: dict[str, Any] | None = None, **changed: Any) -> Path:
    """Save a side branch for one of `every_kind`'s tasks in `folder`; return its directory."""
    section = method or METHODS[task]
    config, ref, own = methods.get(section["name"]).Config(**section), TrunkRef.of(trunk), every_kind()[task]
    torch.manual_seed(len(task))
    module, criterion = build_branch(config, ref.shape, own).eval(), own.criterion()
    shaken(module, criterion)
    decision = Decision(**DECISIONS[task]) if task in DECISIONS else None
    values = {"max_length": 60, "precision": "fp32", "decision": decision, **changed}
    own.name = values.pop("name", task)
    save_branch(Branch(own, config, module, criterion, ref, **values), folder / own.name)
    return folder / own.name


def write_tuned(zoo: Any, folder: Path, method: str, precision: str = "fp32", name: str = "bert", **config: Any) -> Path:
    """Save a branch whose method changes the trunk, with the plain head."""
    from test_export import learned  # beside the tests that use this

    trunk, tuned, head = learned(zoo, name, "text", method, precision=precision, **config)
    task = every_kind()["mood"]
    task.name = "mood"
    branch = Branch(task, tuned.tuner.config, head, task.criterion(), TrunkRef.of(trunk), 60, precision, source=tuned)
    save_branch(branch, folder / method)
    return folder / method


def trunk_of(zoo: Any, name: str, stack: Any = "encoder", dtype: str = "fp32") -> Trunk:
    return load_trunk(zoo(name), stack=stack, dtype=dtype, device="cpu")
