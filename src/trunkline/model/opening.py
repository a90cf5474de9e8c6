"""Branches loaded from their folders, and the trunk that they name."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from trunkline.errors import BadInput, TrunklineError
from trunkline.model.branch import Branch, load_branch
from trunkline.model.folders import branch_folders
from trunkline.model.plan import named
from trunkline.trunk.backends import backends, installed
from trunkline.trunk.load import Trunk
from trunkline.trunk.shared import shared_trunk


def open_branches(
    paths: Any, trunk: str | Trunk | None, device: str, backend: str | None = None
) -> tuple[Trunk, dict[str, Branch]]:
    """Return the trunk, and the branches by name.

    Args:
        paths: branch directories, or run directories with all their branches; one, several or a mapping of names to these. What
            has such a directory as its `path`, as what `fit` returns, stands for it.
        trunk: another place where the same trunk is found, or a trunk already loaded.
        device: "auto", "cpu" or "cuda".
        backend: what computes the frozen trunk; by default what the first branch was trained on, or torch where that is not
            installed and another gives the same states.

    Raises:
        BadInput: no branch, one given twice, or a trunk that is not there.
    """
    given = _places(paths)
    loaded: list[Branch] = []
    source = trunk
    for folder in (folder for path in given for folder in branch_folders(path)):
        loaded.append(branch := load_branch(folder, source, device=device))
        if branch.source.trunk is not None:
            source = branch.source.trunk  # the next one that changes it need not load it again
        if twin := next((other for other in loaded[:-1] if branch.source.equals(other.source)), None):
            branch.share(twin)
    if not loaded:
        raise BadInput("no branch given; expected at least one branch or run directory")
    return _trunk_of(loaded, trunk, source, device, backend), named(loaded)


def _places(given: Any) -> list[Path]:
    """The directories that a program names."""
    if isinstance(given, str | PathLike) or hasattr(given, "path"):
        given = [given]
    elif isinstance(given, Mapping):
        given = given.values()
    try:
        return [Path(getattr(one, "path", one)) for one in given]
    except TypeError:
        found = type(given).__name__
        raise BadInput(
            f"found {found}, expected the folder of a branch or of a run, what fit returned, or a list of these"
        ) from None


def _trunk_of(
    loaded: list[Branch], trunk: str | Trunk | None, source: str | Trunk | None, device: str, backend: str | None
) -> Trunk:
    if isinstance(trunk, Trunk):
        return trunk
    reading = [branch for branch in loaded if branch.source.trunk is None]
    if not reading and isinstance(source, Trunk):
        return source
    first = reading[0].trunk
    if backend not in (None, "torch") and first.dtype not in (has := backends.get(backend, key="backend").precisions):
        raise BadInput(
            f"{reading[0].path} was trained on states in {first.dtype}, which backend {backend} does not have "
            f"(it has {', '.join(has)}); train with trunk.dtype: fp32, or name another backend"
        )
    try:
        return shared_trunk(
            trunk or first.name,
            revision=None if trunk else first.revision,
            stack=first.stack,
            dtype=first.dtype,
            device=device,
            backend=backend or (first.backend if first.dtype == "int8" or installed(first.backend) else "torch"),
            ranges=first.ranges,
        )
    except TrunklineError as error:
        if trunk is not None:
            raise
        raise type(error)(f"{reading[0].path} needs its trunk: {error}; --trunk (trunk=) gives its current location") from None
