"""The state of a run between two steps, on disk: one safetensors file and one JSON file in a directory that is replaced whole.

There is no random state in it: every draw is seeded by (seed, step), so a resumed run makes the draws it would have made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from trunkline.errors import BadInput
from trunkline.files import atomic_directory, recover_directory
from trunkline.training.cost import Cost
from trunkline.training.learner import Learner, Progress

VERSION = 1


@dataclass
class Position:
    """Where a run stands: `batch` batches of `epoch` and `step` optimiser steps are done; `history` holds each evaluation."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    open_epoch: dict[str, float] = field(default_factory=dict)  # seconds and tokens of the epoch under way
    seconds: float = 0.0  # of the run so far
    environment: dict[str, Any] = field(default_factory=dict)  # what its last bits depend on; version 0.1 did not note it


def save_checkpoint(path: Path, identity: str, learners: Mapping[str, Learner], position: Position, cost: Cost) -> None:
    """Write everything needed to go on, atomically, in the place of the checkpoint before."""
    tensors: dict[str, Tensor] = {}
    for name, learner in learners.items():
        tensors.update({f"{name}/now/{key}": value for key, value in learner.weights(copy=False).items()})
        tensors.update({f"{name}/best/{key}": value for key, value in learner.best.items()})
        for index, moments in learner.optimizer.state_dict()["state"].items():
            tensors.update({f"{name}/optimizer/{index}/{key}": value.cpu() for key, value in moments.items()})
    state = {
        "version": VERSION,
        "identity": identity,
        "position": asdict(position),
        "cost": cost.as_dict(),
        "learners": {name: asdict(learner.progress) for name, learner in learners.items()},
    }
    with atomic_directory(path) as temporary:
        save_file(tensors, temporary / "tensors.safetensors")
        (temporary / "state.json").write_text(json.dumps(state, allow_nan=False), encoding="utf-8")


def load_checkpoint(path: Path, identity: str, learners: Mapping[str, Learner]) -> tuple[Position, Cost] | None:
    """Put the checkpoint at `path` into the learners; return where the run stands, or None if there is no checkpoint.

    Raises:
        BadInput: it belongs to another config or to other data, or cannot be read.
    """
    recover_directory(path)
    if not path.exists():
        return None
    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        tensors = load_file(path / "tensors.safetensors")
    except Exception as error:
        raise BadInput(
            f"{path}: the checkpoint cannot be read ({type(error).__name__}); delete it, or use --fresh to train anew"
        ) from None
    if state.get("version") != VERSION or state["identity"] != identity:
        raise BadInput(
            f"{path}: the checkpoint belongs to another config, other data or another trunk; use --fresh to train anew"
        )
    for name, learner in learners.items():
        prefix = f"{name}/"
        own = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
        learner.load({key[4:]: value for key, value in own.items() if key.startswith("now/")})
        learner.best = {key[5:]: value for key, value in own.items() if key.startswith("best/")}
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in own.items():
            if key.startswith("optimizer/"):
                _, index, moment = key.split("/", 2)
                moments.setdefault(int(index), {})[moment] = value
        groups = learner.optimizer.state_dict()["param_groups"]
        learner.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        # Only what is known: version 0.1 wrote one more field.
        learner.progress = Progress(**{key: state["learners"][name][key] for key in Progress.__dataclass_fields__})
    return Position(**state["position"]), Cost.from_dict(state["cost"])
