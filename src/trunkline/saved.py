"""What is saved as JSON beside a safetensors file: each of the two holds a digest of the other, so that neither is read alone.

The JSON has the sha256 of the file of weights. The weights' metadata has a digest of what the JSON means, which leaves out what
changes no answer. So flipped bits, another file of the same shapes and settings changed by hand are found when they are read.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.overrides import TorchFunctionMode

from trunkline.errors import BadInput, clipped
from trunkline.files import check_regular, sha256_file

MEANING = "trunkline.meaning"  # key of the metadata
SHA256 = "weights_sha256"  # key of the JSON
# What changes no answer of a branch. The trunk's name says where it is looked for; which one it is, its fingerprint tells.
APART = ("metrics", "cost", "versions", SHA256)
TRUNK_APART = ("name", "revision")
METHOD_APART = ("adapters", "stack_on", "start")  # paths: what was in them is in `specs` and in the weights
BRANCH_REMEDY = "copy the original branch again"
EDITED = " (`trunkline relabel` renames labels)"  # the setting of a branch that is changed most
SPARE = 1 << 22  # numbers that a module may hold besides those that are stored: tables that it computes itself


@dataclass(frozen=True)
class Weights:
    """A safetensors file whose header has been read.

    Args:
        shapes: of its tensors, by name.
        metadata: strings by key.
    """

    path: Path
    shapes: dict[str, tuple[int, ...]]
    metadata: dict[str, str]

    @classmethod
    def open(cls, path: Path) -> Weights:
        """Read the header; BadInput if the file is no whole safetensors file."""
        check_regular(path)
        try:
            with safe_open(path, "pt") as file:
                shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no dict
                return cls(path, shapes, file.metadata() or {})
        except Exception as error:  # safetensors has error classes of its own for each kind of damage
            raise unreadable(path, error) from None

    def numbers(self) -> int:
        """How many numbers its tensors hold."""
        return sum(torch.Size(shape).numel() for shape in self.shapes.values())

    def load(self) -> dict[str, Tensor]:
        """Read all tensors, to the CPU."""
        try:
            return load_file(self.path)
        except Exception as error:
            raise unreadable(self.path, error) from None


def unreadable(path: Path, error: Exception) -> BadInput:
    return BadInput(f"{path}: cannot be read as safetensors ({type(error).__name__})")


def meaning(described: Mapping[str, Any]) -> str:
    """sha256 (hex) of JSON-able values, the same however they are laid out in a file."""
    return hashlib.sha256(json.dumps(described, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def branch_meant(described: Mapping[str, Any]) -> dict[str, Any]:
    """The part of branch.json that answers depend on."""
    kept = {key: value for key, value in described.items() if key not in APART}
    for section, apart in (("trunk", TRUNK_APART), ("method", METHOD_APART)):
        kept[section] = {key: value for key, value in described[section].items() if key not in apart}
    return kept


def save_weights(path: Path, tensors: Mapping[str, Tensor], meant: Mapping[str, Any]) -> str:
    """Write tensors beside JSON that means `meant`; return the sha256 that is to be kept in it under SHA256."""
    save_file(dict(tensors), path, metadata={MEANING: meaning(meant)})
    return sha256_file(path)


def check_together(
    file: Path,
    described: Mapping[str, Any],
    meant: Mapping[str, Any],
    weights: Weights,
    remedy: str = BRANCH_REMEDY,
    option: str = "",
) -> None:
    """Raise BadInput unless JSON and weights were saved together.

    Args:
        file: the JSON.
        described: what it holds. Without SHA256 it is of a version that kept no digests, and so must be the weights.
        meant: what `save_weights` was given.
        remedy, option: of the error.
    """
    expected, found = described.get(SHA256), weights.metadata.get(MEANING)
    if expected is None and found is None:
        return
    if not isinstance(expected, str) or found != meaning(meant):
        if isinstance(expected, str) and found is not None and sha256_file(weights.path) != expected:
            problem = f"{weights.path}: saved with another {file.name}, expected the two that were saved together"
            raise BadInput(problem, remedy=remedy, option=option)
        also = EDITED if remedy is BRANCH_REMEDY else ""
        problem = f"{file}: not what was saved with {weights.path.name}: a setting in it was changed since"
        raise BadInput(problem, remedy=remedy + also, option=option)
    if (here := sha256_file(weights.path)) != expected:
        raise BadInput(
            f"{weights.path}: found sha256 {here[:12]}, expected {clipped(expected[:12])}, of the weights that were saved with "
            f"{file.name}",
            remedy=remedy,
            option=option,
        )


class Bounded(TorchFunctionMode):
    """Within it, the tensors that are made by their sizes hold at most so many numbers in all: what a description asks for
    is refused before the memory for it is taken.

    Args:
        weights: of the module that is being made; it may hold twice what they do (some tensors are made and replaced).
        where: opens the message.
    """

    MAKES = (torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.full, torch.eye)

    def __init__(self, weights: Weights, where: str) -> None:
        super().__init__()
        self.stored, self.where = weights, where
        self.left = 2 * weights.numbers() + SPARE

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Within it, what is made does not count."""
        left, self.left = self.left, sys.maxsize
        try:
            yield
        finally:
            self.left = left

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in self.MAKES and str(kwargs.get("device")) != "meta":
            sizes = kwargs.get("size", args[0] if args and isinstance(args[0], (tuple, list)) else args)
            count = 1
            for size in sizes:
                count *= int(size) if isinstance(size, int) else 1
            self.left -= count
            if self.left < 0:
                raise BadInput(
                    f"{self.where}: describes more weights than the {self.stored.numbers():,} numbers in "
                    f"{self.stored.path.name}; expected the settings that they were saved with"
                )
        return func(*args, **kwargs)
