"""A branch: the saved result of training one task, a directory that reloads by itself.

`branch.json` (branch_file.py) holds the task with its labels in order, the method and its config, the trunk it belongs to
(name, sha256 of its weights and tokenizer), the maximum length, metrics, cost and versions; `weights.safetensors` holds the
weights. Nothing else is read, nothing is unpickled, and whatever does not fit is refused with a sentence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trunkline.branches import LayerState, SideBranch, methods
from trunkline.errors import BadInput, TrunklineError, clipped
from trunkline.files import atomic_directory, path_of, safe_name
from trunkline.inputs.batching import Layout
from trunkline.model.apply import autocast
from trunkline.model.approach import approach_of
from trunkline.model.branch_file import SCHEMA, read_branch_file, write_branch_file
from trunkline.model.checking import validate_section
from trunkline.model.decision import Decision, decode, probabilities, score
from trunkline.model.frozen import FROZEN
from trunkline.model.part import named_weights
from trunkline.model.source import Source
from trunkline.model.trunk_ref import TrunkRef
from trunkline.saved import Bounded, Weights
from trunkline.seeding import seeded
from trunkline.tasks import Criterion, Decoded, Targets, Task, kinds
from trunkline.trunk.load import Trunk, load_trunk


@dataclass(repr=False)
class Branch:
    """A trained task: the modules in eval mode on the CPU, and all that is needed to run them.

    `precision` (fp32 or bf16) is the one that it was trained and judged in; `max_length` counts tokens. `text` and
    `text_pair` are the columns that it was trained to read, for reading a table again. `source` is where the
    layer states that the module reads come from: the trunk as it is, or a changed copy of it. `decision` is what was fitted
    on validation: every answer is made by `decode`.
    """

    task: Task
    method: Any
    module: SideBranch
    criterion: Criterion
    trunk: TrunkRef
    max_length: int
    precision: str
    text: str = "text"
    text_pair: str | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    cost: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None
    source: Source = FROZEN
    decision: Decision | None = None

    def __repr__(self) -> str:
        """The name, kind, method and trunk, and where it is saved: one line."""
        saved = f", saved in {str(self.path)!r}" if self.path is not None else ""
        task = f"{self.task.name!r}: {self.task.described_briefly()}"
        return f"Branch({task}, method {self.method.name}, trunk {self.trunk.name!r}{saved})"

    def check_trunk(self, trunk: Trunk) -> None:
        """Raise BadInput unless `trunk` is the one that this branch was trained on."""
        found = trunk.fingerprint
        where = self.path or f"branch {self.task.name}"
        if (trunk.stack, found.weights) != (self.trunk.stack, self.trunk.weights):
            raise BadInput(
                f"{where}: trained on the {self.trunk.stack} of trunk {self.trunk.name} with weights sha256 "
                f"{self.trunk.weights[:12]}, found the {trunk.stack} of {trunk.name} with {found.weights[:12]}; "
                "give the trunk it belongs to"
            )
        tokenizer = "tokenizer" if trunk.reads == "text" else "feature extractor"
        if found.tokenizer != self.trunk.tokenizer:
            raise BadInput(
                f"{where}: trained with a {tokenizer} of sha256 {self.trunk.tokenizer[:12]}, "
                f"found {found.tokenizer[:12]} in {trunk.name}; give the {tokenizer} it belongs to"
            )
        for what, trained, here in (
            ("config.json", self.trunk.config, found.config),
            ("tokenizer", self.trunk.tokenizer_settings, found.tokenizer_settings),
        ):
            if trained not in (None, here):
                raise BadInput(
                    f"{where}: trained on trunk {self.trunk.name} with settings of its {what} of sha256 {trained[:12]}, "
                    f"found {here[:12]} in {trunk.name}; give the trunk it belongs to, with its {what} as it was"
                )

    def weights(self) -> dict[str, Tensor]:
        """All weights that are its own, under the names they have on disk: `branch.*`, `criterion.*` and `trunk.*`."""
        changed = {f"trunk.{name}": value for name, value in self.source.own().items()}
        return {**named_weights(self.module, self.criterion), **changed}

    def share(self, other: Branch) -> None:
        """Read the source of `other` from now on, which must be equal to its own."""
        self.source = other.source
        self.source.bind(self.module)

    def decode(self, logits: np.ndarray | Tensor, offsets: np.ndarray | None = None) -> Decoded:
        """Predictions with calibrated scores, for logits as of `Criterion.decode`."""
        return decode(self.criterion, self.decision, logits, offsets)

    def probabilities(self, logits: np.ndarray | Tensor, offsets: np.ndarray | None = None) -> np.ndarray | None:
        """Calibrated probabilities, for logits as of `Criterion.probabilities`."""
        return probabilities(self.criterion, self.decision, logits, offsets)

    def score(
        self, logits: np.ndarray, offsets: np.ndarray | None, targets: Targets, min_confidence: float | None = None
    ) -> dict[str, Any]:
        """Metrics of these answers (see `score` in decision.py)."""
        return score(self.task, self.criterion, self.decision, logits, offsets, targets, min_confidence)

    def layer_weights(self) -> dict[int, float]:
        """Share of each layer in what the branch reads, where its method has such shares."""
        return self.module.layer_weights()


def save_branch(branch: Branch, path: Path) -> None:
    """Write `branch` to the directory `path` atomically, after reloading it and comparing its outputs bit for bit.

    Raises:
        BadInput: the name of its task is no name for a folder.
        TrunklineError: the reloaded branch answers differently; nothing is left at `path` then.
    """
    safe_name(branch.task.name, "task")
    described = {
        "schema": SCHEMA,
        "name": branch.task.name,
        "kind": branch.task.kind,
        "task": branch.task.state(),
        "method": branch.source.described(branch.method),
        "trunk": branch.trunk.described(),
        "max_length": branch.max_length,
        "precision": branch.precision,
        **({} if branch.decision is None else {"decision": branch.decision.model_dump(mode="json")}),
        "pooler": bool(branch.source.pooler),
        "text": branch.text,
        "text_pair": branch.text_pair,
        "metrics": branch.metrics,
        "cost": branch.cost,
        "versions": {name: version(name) for name in ("trunkline", "torch", "transformers")},
    }
    weights = {name: value.detach().cpu().contiguous().clone() for name, value in branch.weights().items()}
    with atomic_directory(path) as temporary:
        write_branch_file(temporary, described, weights)
        del weights  # the branch is about to be in memory twice
        if not torch.equal(_try(load_branch(temporary, branch.source.trunk)), _try(branch)):
            raise TrunklineError(f"{path}: the reloaded branch gives other outputs; nothing was written")
    branch.path = path


def load_branch(path: str | Path, trunk: Trunk | str | None = None, *, device: str = "auto") -> Branch:
    """Read a branch directory; its modules are in eval mode, on the CPU unless they change their trunk.

    Args:
        path: the directory.
        trunk: a branch that changes its trunk needs that trunk: where it is now, or the trunk itself in fp32. By default it
            is looked for under the name that it had.
        device: where that trunk is loaded to.

    Raises:
        BadInput: no such directory, a file missing or broken, a newer schema, an unknown kind or method, or tensors that
            are missing, left over, misshaped or not finite.
    """
    path = path_of(path, "load_branch", "the folder of a branch")
    described, stored = read_branch_file(path)
    file = f"{path}/branch.json"
    bounded = Bounded(stored, file)

    def part(name: str, make: Callable[[Any], Any]) -> Any:
        try:
            with bounded:
                return make(described[name])
        except BadInput as error:  # from lower packages, which know keys and no file
            raise error.at(file) from error
        except torch.OutOfMemoryError:
            raise
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise BadInput(f"{file}: {name} is missing or malformed ({type(error).__name__})") from error

    part("kind", lambda value: kinds.get(value, f"{file}: kind"))
    task = part("task", lambda value: Task.from_state(described["name"], value))
    if task.kind != described["kind"]:
        raise BadInput(f"{file}: kind: found {described['kind']}, but task.kind is {task.kind}; expected the same")
    method = part("method", lambda value: methods.get(value["name"], f"{file}: method.name"))
    section = part("method", lambda value: method.Config.upgrade(value, described["schema"]))
    config = part("method", lambda _: validate_section(method.Config, section, file, "method"))
    ref = part("trunk", lambda value: TrunkRef(**value))
    decision = part("decision", lambda value: Decision.read(value, task)) if "decision" in described else None
    precision, rest = described["precision"], (described.get("metrics", {}), described.get("cost", {}))
    read = described["max_length"], precision, described["text"], described.get("text_pair")
    approach = approach_of(config)
    part("method", lambda _: approach.resolve_head(config, file))
    alone, pooler = {task.name: task}, described.get("pooler", False)

    def opened() -> Trunk:
        with bounded.aside():
            return _open_trunk(path, ref, trunk, device)

    with seeded("loading"):  # the weights are drawn first, and then replaced
        source, parts = part(
            "method", lambda _: approach.make(opened, ref.shape, config, alone, precision, pooler=pooler, pretrained=False)
        )
    made = parts[task.name]
    branch = Branch(task, config, made.branch, made.criterion, ref, *read, *rest, path, source.eval(), decision)
    if source.trunk is not None:
        branch.check_trunk(source.trunk)
    _load_weights(stored, branch.weights())
    branch.module.eval()
    branch.criterion.eval()
    return branch


def _open_trunk(path: Path, ref: TrunkRef, trunk: Trunk | str | None, device: str) -> Trunk:
    if isinstance(trunk, Trunk) and trunk.precision == "fp32" and trunk.compiled is None:
        return trunk
    name = trunk if isinstance(trunk, str) else trunk.name if trunk is not None else ref.name
    revision = ref.revision if trunk is None else trunk.revision if isinstance(trunk, Trunk) else None
    place = trunk.device if isinstance(trunk, Trunk) else device
    try:
        return load_trunk(name, revision=revision, stack=ref.stack, dtype="fp32", device=place)
    except TrunklineError as error:
        if error.key == "device":
            raise
        raise type(error)(f"{path} needs its trunk: {error}; --trunk (trunk=) gives its current location") from None


def _load_weights(stored: Weights, expected: dict[str, Tensor]) -> None:
    file, found = stored.path, stored.load()
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            raise BadInput(f"{file}: tensor {name} is missing")
        if name not in expected:
            raise BadInput(f"{file}: tensor {clipped(name)} does not belong to this branch")
        if found[name].shape != expected[name].shape or found[name].dtype != expected[name].dtype:
            raise BadInput(f"{file}: tensor {name} has {_shown(found[name])}, expected {_shown(expected[name])}")
        if found[name].is_floating_point() and not torch.isfinite(found[name]).all():
            raise BadInput(f"{file}: tensor {name} holds a number that is not finite")
    with torch.no_grad():
        for name, value in expected.items():
            value.copy_(found[name])


def _shown(value: Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"


@torch.no_grad()
def _try(branch: Branch) -> Tensor:
    """Logits for three dummy sequences of 1, 4 and 6 tokens: equal for equal branches."""
    layout = Layout(torch.tensor([1, 4, 6]))
    feed, device = branch.source.trial(branch.trunk.shape, layout.lengths.numpy()), next(branch.module.parameters()).device
    carry = None

    def receive(layer: int, rows: Tensor) -> None:
        nonlocal carry
        carry = branch.module.read(carry, layer, LayerState(rows, layout))

    layout = Layout(layout.lengths.to(device))
    with autocast(device, branch.precision):
        feed.feed(np.arange(len(layout.lengths)), branch.module.wanted(), receive)
        return branch.module.finish(carry, layout, branch.task.answers.every_row(layout)).cpu()
