"""The state of a run between two steps, on disk: one safetensors file and one JSON file in a directory that is replaced whole.

There is no random state in it: every draw is seeded by (seed, step), so a resumed run makes the draws it would have made.
The two files hold digests of each other (saved.py), so that what was changed since is refused; version 1 had none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, SupportsFloat

import torch
from torch import Tensor, nn

from trunkline.errors import TRAIN_AGAIN, BadInput
from trunkline.files import atomic_directory, read_object, recover_directory
from trunkline.saved import SHA256, Weights, check_together, save_weights
from trunkline.training.cost import Cost, EpochCost
from trunkline.training.feeds import Noted
from trunkline.training.learner import Progress
from trunkline.tuners.sharding import divided, whole

VERSION = 2
READS = (1, 2)
STATE, TENSORS = "state.json", "tensors.safetensors"
ADVICE = {"remedy": "delete the checkpoint", "option": TRAIN_AGAIN}


class Learns(Protocol):
    """What a checkpoint keeps of something in training: a `Learner`, or a student."""

    progress: Progress
    best: dict[str, Tensor]

    @property
    def optimizer(self) -> torch.optim.Optimizer: ...

    def parameters(self) -> list[nn.Parameter]: ...

    def weights(self, copy: bool = True) -> dict[str, Tensor]: ...

    def load(self, weights: dict[str, Tensor]) -> None: ...


@dataclass
class Position:
    """Where a run stands: `batch` batches of `epoch` and `step` optimiser steps are done; `history` holds each evaluation."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    open_epoch: dict[str, float] = field(default_factory=dict)  # seconds and tokens of the epoch under way
    losses: dict[str, list[float]] = field(default_factory=dict)  # by task since the last evaluation: sum, and batches
    seconds: float = 0.0  # of the run so far
    environment: dict[str, Any] = field(default_factory=dict)  # what its last bits depend on; version 0.1 did not note it
    clock: dict[str, Any] = field(default_factory=dict)  # of the whole run so far, by part (clock.py)

    def count_losses(self, losses: Mapping[str, SupportsFloat]) -> None:
        """Take note of the losses of a batch, by task."""
        for name, loss in losses.items():
            total, count = self.losses.get(name, (0.0, 0))
            self.losses[name] = [total + float(loss), count + 1]

    def mean_losses(self) -> dict[str, float]:
        """By task, the mean loss of the batches noted since the last call; those of this process, where there are several."""
        found, self.losses = self.losses, {}
        return {name: total / count for name, (total, count) in found.items()}

    def opened_epoch(self) -> dict[str, float]:
        """What the epoch under way has taken so far, to be added to."""
        self.open_epoch = self.open_epoch or {"seconds": 0.0, "evaluation_seconds": 0.0, "tokens": 0}
        return self.open_epoch

    def close_epoch(self) -> EpochCost:
        """Stand at the beginning of the next epoch; return what this one has taken."""
        tally = self.open_epoch
        self.epoch, self.batch, self.open_epoch = self.epoch + 1, 0, {}
        return EpochCost(tally["seconds"], tally["evaluation_seconds"], int(tally["tokens"]))


def save_checkpoint(
    path: Path, identity: str, learners: Mapping[str, Learns], position: Position, cost: Cost, *, write: bool = True
) -> None:
    """Write everything needed to resume, atomically, replacing the checkpoint before.

    Without `write` it only takes part in putting together what is divided among processes.
    """
    tensors: dict[str, Tensor] = {}
    for name, learner in learners.items():
        tensors.update({f"{name}/now/{key}": value for key, value in learner.weights(copy=False).items()})
        tensors.update({f"{name}/best/{key}": value for key, value in learner.best.items()})
        for index, moments in learner.optimizer.state_dict()["state"].items():
            tensors.update({f"{name}/optimizer/{index}/{key}": whole(value).cpu() for key, value in moments.items()})
    if not write:
        return
    state = {
        "version": VERSION,
        "identity": identity,
        "position": asdict(position),
        "cost": cost.as_dict(),
        "learners": {name: asdict(learner.progress) for name, learner in learners.items()},
    }
    with atomic_directory(path) as temporary:
        state = json.loads(json.dumps(state, allow_nan=False))
        state[SHA256] = save_weights(temporary / TENSORS, tensors, state)
        (temporary / STATE).write_text(json.dumps(state), encoding="utf-8")


def noted_states(path: Path) -> dict[str, Noted]:
    """Where the states of each split came from, by the checkpoint at `path`; empty where it does not say."""
    recover_directory(path)
    try:
        environment = read_object(path / "state.json")["position"]["environment"]
        stores = environment.get("stores", {})
        return {place: Noted(states, stores.get(place)) for place, states in environment["states"].items()}
    except Exception:  # none there, of an older version, or one that cannot be read: `load_checkpoint` says so
        return {}


def noted_history(path: Path) -> list[dict[str, Any]]:
    """The evaluations before the checkpoint at `path`; none where there is no checkpoint that can be read."""
    recover_directory(path)
    try:
        return list(read_object(path / STATE)["position"]["history"])
    except (BadInput, LookupError, TypeError):
        return []


def load_checkpoint(path: Path, identity: str, learners: Mapping[str, Learns]) -> tuple[Position, Cost] | None:
    """Put the checkpoint at `path` into the learners; return where the run stands, or None if there is no checkpoint.

    Raises:
        BadInput: it belongs to another config or to other data, or cannot be read.
    """
    recover_directory(path)
    if not path.exists():
        return None
    state, stored = read_object(path / STATE), Weights.open(path / TENSORS)
    if state.get("version") not in READS or (state["version"] == 1) != (SHA256 not in state):
        raise BadInput(f"{path / STATE}: not a checkpoint that this version of Trunkline has written", **ADVICE)
    check_together(path / STATE, state, {key: value for key, value in state.items() if key != SHA256}, stored, **ADVICE)
    if state.get("identity") != identity:
        problem = f"{path}: the checkpoint belongs to another config, other data or another trunk"
        raise BadInput(problem, option=TRAIN_AGAIN)
    tensors = stored.load()
    try:
        for name, learner in learners.items():
            _put(
                learner,
                state["learners"][name],
                {k[len(name) + 1 :]: v for k, v in tensors.items() if k.startswith(f"{name}/")},
            )
        return Position(**state["position"]), Cost.from_dict(state["cost"])
    except BadInput as error:
        raise error.at(str(path)) from None
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise BadInput(f"{path}: the checkpoint cannot be read ({type(error).__name__})", **ADVICE) from error


def _put(learner: Learns, progress: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Put the tensors and the progress of one learner into it, if they fit."""
    parts: dict[str, dict[str, Tensor]] = {"now": {}, "best": {}, "optimizer": {}}
    for key, value in tensors.items():
        part, _, rest = key.partition("/")
        parts[part][rest] = value
    expected = learner.weights()
    for part in ("now", "best") if parts["best"] else ("now",):
        if parts[part].keys() != expected.keys():
            raise BadInput(f"{TENSORS}: its {part} weights are not those of this run", **ADVICE)
        for key, value in parts[part].items():
            if (value.shape, value.dtype) != (expected[key].shape, expected[key].dtype):
                raise BadInput(f"{TENSORS}: {part}/{key} has another shape or dtype than in this run", **ADVICE)
    moments: dict[int, dict[str, Tensor]] = {}
    parameters = learner.parameters()
    for key, value in parts["optimizer"].items():
        index, _, moment = key.partition("/")
        weight = parameters[int(index)]
        if value.dtype != torch.float32 or value.shape not in (weight.shape, torch.Size()):
            raise BadInput(f"{TENSORS}: optimizer/{key} has another shape or dtype than in this run", **ADVICE)
        moments.setdefault(int(index), {})[moment] = divided(value, weight)
    learner.load(parts["now"])
    learner.best = parts["best"]
    groups = learner.optimizer.state_dict()["param_groups"]
    learner.optimizer.load_state_dict({"state": moments, "param_groups": groups})
    # Only what is known: version 0.1 wrote one more field, and earlier ones lack some.
    fields = Progress.__dataclass_fields__.keys() - ({"best_rank", "failed", "rounds"} - progress.keys())
    learner.progress = Progress(**{key: progress[key] for key in fields})
