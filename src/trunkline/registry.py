"""A name -> thing table that fills itself from the modules of a package or two, so that adding a thing is adding one file."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Generic, TypeVar

from trunkline.errors import unknown_name

T = TypeVar("T")


class Registry(Generic[T]):
    """Things of one kind by name.

    Args:
        what (str): the word that messages use, e.g. ``"method"``.
        packages (str): every module of these packages is imported at the first look-up; each registers what it holds.
    """

    def __init__(self, what: str, *packages: str) -> None:
        self.what, self._packages = what, packages
        self._things: dict[str, T] = {}
        self._filled = False

    def register(self, name: str) -> Callable[[T], T]:
        """Decorate a class or function to make it known under `name`; a name taken twice is a programming error."""

        def add(thing: T) -> T:
            if self._things.setdefault(name, thing) is not thing:
                raise ValueError(f"{self.what} {name!r} is registered twice")
            return thing

        return add

    def _fill(self) -> None:
        if not self._filled:
            for name in self._packages:
                for module in pkgutil.iter_modules(importlib.import_module(name).__path__):
                    importlib.import_module(f"{name}.{module.name}")
            self._filled = True

    def names(self) -> list[str]:
        """All known names, sorted."""
        self._fill()
        return sorted(self._things)

    def get(self, name: str, where: str | None = None) -> T:
        """Return the thing called `name`; raise BadInput that names the nearest known one (`where` opens the message)."""
        self._fill()
        if name not in self._things:
            raise unknown_name(where or self.what, name, self._things)
        return self._things[name]
