"""Which branches one graph can hold: those of one trunk, in one state, that read texts alike."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from trunkline.branches import SideBranch
from trunkline.errors import BadInput, TrunklineError
from trunkline.export.onnx.traced import Traced
from trunkline.inputs.cutting import overlap_of
from trunkline.inputs.text import TextProcessor
from trunkline.model.branch import Branch, load_branch
from trunkline.model.folders import branch_folders
from trunkline.model.opening import open_branches
from trunkline.trunk.load import Trunk
from trunkline.trunk.shared import shared_trunk
from trunkline.tuners import TunedTrunk


@dataclass(frozen=True)
class Together:
    """Branches of one graph.

    Attributes:
        trunk: of all of them, in fp32 and computed by torch, on the CPU.
        branches: by name, at least one.
    """

    trunk: Trunk
    branches: Mapping[str, Branch]

    @cached_property
    def first(self) -> Branch:
        return next(iter(self.branches.values()))

    @property
    def max_length(self) -> int:
        return self.first.max_length

    @property
    def pairs(self) -> bool:
        """Whether they read second texts."""
        return self.first.text_pair is not None

    @cached_property
    def overlap(self) -> int | None:
        """Tokens of text that two neighbouring windows share; None where no branch makes one answer of several windows."""
        if not any(branch.task.answers.joined for branch in self.branches.values()):
            return None
        assert isinstance(self.trunk.processor, TextProcessor)
        return overlap_of(self.trunk.processor.room(self.max_length))

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of what the graph reads. Padding is on the right, so that no model needs the positions of its tokens."""
        encoded = self.trunk.encode(["a"], pairs=["a"] if self.pairs else None, max_length=self.max_length)
        return tuple(name for name in self.trunk.collate(encoded, [0]) if name != "position_ids")

    @cached_property
    def traced(self) -> Traced:
        """The trunk as they read it, with what a tuner has learned merged into its weights."""
        return Traced.of(self.trunk, self.first.source)

    @cached_property
    def modules(self) -> dict[str, SideBranch]:
        """What makes logits of its states, by branch; nothing in the branches is changed."""
        modules = {name: copy.copy(branch.module) for name, branch in self.branches.items()}
        for module in modules.values():
            module.bind(self.traced.model)
        return modules


def open_together(paths: Any, trunk: str | Trunk | None = None) -> Together:
    """Load branch directories, or run directories with all their branches, and their trunk in fp32.

    Args:
        paths: one or several.
        trunk: another place where the trunk is found.

    Raises:
        BadInput: no branch, or branches that cannot be in one graph: the sentence says why.
        TrunklineError: the trunk cannot be found.
    """
    given = [paths] if isinstance(paths, str | Path) or hasattr(paths, "path") else paths
    folders = [folder for one in given for folder in branch_folders(Path(getattr(one, "path", one)))]
    if not folders:
        raise BadInput("no branch given; expected at least one branch or run directory")
    if isinstance(trunk, Trunk) and ((trunk.precision, trunk.compiled) != ("fp32", None) or trunk.device.type != "cpu"):
        trunk = str(trunk.folder)
    loaded = trunk if isinstance(trunk, Trunk) else _trunk_of(load_branch(folders[0], trunk, device="cpu"), trunk)
    if loaded.reads != "text":
        raise BadInput(f"{folders[0]}: its trunk {loaded.name} reads audio; expected one that reads texts, as graphs do")
    found = _opened(folders, loaded)
    _check(found, loaded)
    return Together(loaded, found)


def _opened(folders: list[Path], trunk: Trunk) -> dict[str, Branch]:
    """The branches by name, each checked against the trunk."""
    branches = open_branches(folders, trunk, "cpu").branches
    first = next(iter(branches.values()))
    for branch in branches.values():
        if (branch.trunk.stack, branch.trunk.weights) != (first.trunk.stack, first.trunk.weights):
            raise _apart(
                branch,
                f"belongs to the {branch.trunk.stack} of trunk {branch.trunk.name}",
                first,
                f"to the {first.trunk.stack} of {first.trunk.name}",
            )
        branch.check_trunk(trunk)
    return branches


def _trunk_of(branch: Branch, name: str | None) -> Trunk:
    if branch.source.trunk is not None:
        return branch.source.trunk
    ref = branch.trunk
    try:
        return shared_trunk(
            name or ref.name, revision=None if name else ref.revision, stack=ref.stack, dtype="fp32", device="cpu"
        )
    except TrunklineError as error:
        if name is not None:
            raise
        raise type(error)(f"{branch.path} needs its trunk: {error}; --trunk (trunk=) gives its current location") from None


def _check(branches: Mapping[str, Branch], trunk: Trunk) -> None:
    """BadInput unless all branches can be read off one pass over texts that are cut alike."""
    first = next(iter(branches.values()))
    for branch in branches.values():
        if not (branch.source is first.source or branch.source.equals(first.source)):
            raise _apart(branch, f"reads {_states(branch)}", first, f"reads {_states(first)}")
        if branch.max_length != first.max_length:
            raise _apart(branch, f"reads at most {branch.max_length} tokens of a text", first, f"{first.max_length}")
        if branch.task.answers.joined and trunk.tokenizer.truncation_side == "left":
            raise BadInput(
                f"{branch.path}: it reads all windows of a long text (long_texts: {branch.task.long_texts}), and its tokenizer "
                "divides texts from their end; expected one with truncation_side right, or a branch with long_texts: first"
            )
        if (branch.text_pair is None) != (first.text_pair is None):
            one, other = ("single texts", "pairs") if branch.text_pair is None else ("pairs", "single texts")
            raise _apart(branch, f"reads {one}", first, other)


def _states(branch: Branch) -> str:
    return f"a trunk that {branch.method.name} has changed" if isinstance(branch.source, TunedTrunk) else "the trunk as it is"


def _apart(branch: Branch, what: str, first: Branch, other: str) -> BadInput:
    return BadInput(f"{branch.path}: {what}, and {first.path} {other}; one graph holds branches that are alike in this")
