"""A table of things by name that fills itself from the modules of packages, so that adding a thing is adding one file.

Which module registers a name is read from its source; only the module of a name that is asked for is imported.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
from collections.abc import Callable
from typing import Generic, TypeVar

from trunkline.errors import unknown_name

T = TypeVar("T")

# A registration as a module writes it, at the start of a line: `@methods.register("lora")`.
REGISTERED = re.compile(r"""^@?\w+\.register\(\s*["']([^"'\n]+)["']""", re.MULTILINE)


class Registry(Generic[T]):
    """Things of one kind by name.

    Args:
        what (str): the word that messages use, e.g. ``"method"``.
        package (str): the package whose modules register things of this kind; a higher package adds itself by `add_package`.
    """

    def __init__(self, what: str, package: str) -> None:
        self.what = what
        self._things: dict[str, T] = {}
        self._modules: dict[str, str] = {}  # by name, the module that registers it
        self._packages, self._read = [package], set[str]()

    def add_package(self, package: str) -> None:
        """Look for things of this kind in the modules of `package` too."""
        self._packages.append(package)

    def register(self, name: str) -> Callable[[T], T]:
        """Decorate a class or function to make it known under `name`; a name taken twice is a programming error."""

        def add(thing: T) -> T:
            if self._things.setdefault(name, thing) is not thing:
                raise ValueError(f"{self.what} {name!r} is registered twice")
            return thing

        return add

    def _look(self) -> None:
        for package in [one for one in self._packages if one not in self._read]:
            for found in pkgutil.iter_modules(importlib.import_module(package).__path__):
                module = f"{package}.{found.name}"
                source = _source(module)
                if source is None:  # compiled code alone: only importing it tells
                    importlib.import_module(module)
                for name in REGISTERED.findall(source or ""):
                    if self._modules.setdefault(name, module) != module:
                        raise ValueError(f"{self.what} {name!r} is registered in {self._modules[name]} and in {module}")
            self._read.add(package)  # last: another thread that looks meanwhile reads them too, and finds the same

    def names(self) -> list[str]:
        """All known names, sorted."""
        self._look()
        return sorted({*self._things, *self._modules})

    def known_as(self, name: str) -> str:
        """Return `name` as it is registered, where it differs from that by upper and lower case only."""
        return next((known for known in self.names() if known.casefold() == name.casefold()), name)

    def get(self, name: str, where: str = "", key: str = "") -> T:
        """Return the thing called `name`; raise BadInput that names the nearest known one (`where` and `key` open it)."""
        known = self.names()
        if name not in known:
            raise unknown_name(where, name, known, key or ("" if where else self.what))
        if name not in self._things:
            importlib.import_module(self._modules[name])
        return self._things[name]


def _source(module: str) -> str | None:
    spec = importlib.util.find_spec(module)
    read = getattr(None if spec is None else spec.loader, "get_source", None)
    return read(module) if read else None
