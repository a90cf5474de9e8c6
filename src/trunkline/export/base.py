"""What an export target is: a library that loads a branch by itself. One file of this package per target."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from trunkline.model.branch import Branch
from trunkline.registry import Registry
from trunkline.trunk.load import Trunk


class Target(Protocol):
    """Writes branches whose tuner names it as its `target`."""

    def write(self, branch: Branch, folder: Path, **card: Any) -> None:
        """Write `branch`, which has the plain head, to `folder`; load it with the library and compare what it answers.

        Args:
            branch: of a method that changes the trunk.
            folder: is replaced as a whole.
            card: `units`, mean and deviation of a regression's targets or None; `title` and `facts` of the model card.

        Raises:
            BadInput: the library has no such thing.
            TrunklineError: what was written answers differently; nothing is left of it.
        """

    def loading(self, branch: Branch, folder: str) -> list[str]:
        """Lines of Python that load, on this machine, what was written to `folder`."""


targets: Registry[Target] = Registry("export target", __package__)


def place_of(trunk: Trunk) -> tuple[str, str | None]:
    """Where other libraries find a trunk: its name and revision on the hub, or its folder; they know no alias."""
    return (trunk.name, trunk.revision) if trunk.revision else (str(trunk.folder.absolute()), None)
