"""The Python of the pages names what there is: every import, and every attribute of an object whose type is declared."""

from __future__ import annotations

import ast
import builtins
import importlib
import importlib.util
import inspect
import re
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import trunkline
from trunkline.model.branch import Branch
from trunkline.model.bundle import Bundle
from trunkline.model.source import Source
from trunkline.tasks import Task
from trunkline.tuners.tuned import TunedTrunk

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted(path for path in ROOT.glob("docs/**/*.md") if path.name != "architecture.md")]
MEANT = {Source: TunedTrunk}  # pages name the attributes of a source only where it is a changed trunk
KNOWN = {"trunkline": trunkline, "bundle": Bundle, "branch": Branch, "task": Task}  # what the text of a page may name
UNKNOWN = None


class Returned:
    """What a name or a call stands for: an object of a class (or of a generic type), not the class."""

    def __init__(self, kind: Any) -> None:
        self.kind = MEANT.get(kind, kind)
        self.cls = typing.get_origin(self.kind) or self.kind


def _returned(kind: Any) -> Returned | None:
    found = Returned(kind)
    if not isinstance(found.cls, type) or hasattr(found.cls, "__getattr__"):
        return UNKNOWN
    return found if found.cls.__module__.startswith("trunkline") or found.cls in (Mapping, Sequence, dict, list) else UNKNOWN


def _hints(of: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(of)
    except (NameError, TypeError, AttributeError):
        return {}


class Names(ast.NodeVisitor):
    """Follows the declared types through a snippet; `wrong` gets what does not exist. What has no declared type is let be."""

    def __init__(self, known: dict[str, Any], wrong: list[str]) -> None:
        self.known, self.wrong = known, wrong

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            first = alias.name.split(".")[0]
            self.known[alias.asname or first] = self._module(alias.name if alias.asname else first)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = self._module(node.module or "")
        for alias in node.names:
            if module is not UNKNOWN and not hasattr(module, alias.name):
                self.wrong.append(f"{node.module}.{alias.name}")
            self.known[alias.asname or alias.name] = getattr(module, alias.name, UNKNOWN)

    def _module(self, name: str) -> Any:
        return importlib.import_module(name) if name.startswith("trunkline") else UNKNOWN

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(target.elts, node.value.elts, strict=True))
            else:
                pairs = [(target, node.value)]
            for place, value in pairs:
                found = self.of(value)
                if isinstance(place, ast.Name):
                    self.known[place.id] = found

    def visit_Expr(self, node: ast.Expr) -> None:
        self.of(node.value)

    def generic_visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.expr):
            self.of(node)
        else:
            super().generic_visit(node)

    def of(self, node: ast.AST) -> Any:
        """The object, or the `Returned` type, of an expression; UNKNOWN where nothing says it."""
        if isinstance(node, ast.Name):
            return self.known.get(node.id, getattr(builtins, node.id, UNKNOWN))
        if isinstance(node, ast.Attribute):
            return self._attribute(self.of(node.value), node.attr)
        if isinstance(node, ast.Call):
            for part in (*node.args, *(keyword.value for keyword in node.keywords)):
                self.of(part)
            called = self.of(node.func)
            if isinstance(called, type):
                return _returned(called)
            return _returned(_hints(called).get("return")) if inspect.isroutine(called) else UNKNOWN
        if isinstance(node, ast.Subscript):
            owner = self.of(node.value)
            inner = typing.get_args(owner.kind) if isinstance(owner, Returned) else ()
            return _returned(inner[-1]) if inner else UNKNOWN
        inner = self
        if isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp):  # its names are its own
            own = [name.id for part in node.generators for name in ast.walk(part.target) if isinstance(name, ast.Name)]
            inner = Names({**self.known, **dict.fromkeys(own, UNKNOWN)}, self.wrong)
        for part in ast.iter_child_nodes(node):
            inner.visit(part)
        return UNKNOWN

    def _attribute(self, owner: Any, name: str) -> Any:
        if owner is UNKNOWN:
            return UNKNOWN
        if hasattr(owner, "__path__") and importlib.util.find_spec(f"{owner.__name__}.{name}") is not None:
            return self._module(f"{owner.__name__}.{name}")
        if not isinstance(owner, Returned):
            if not hasattr(owner, name):
                self.wrong.append(f"{getattr(owner, '__name__', owner)}.{name}")
            return getattr(owner, name, UNKNOWN)
        hints = _hints(owner.cls)
        if name in hints:
            return _returned(hints[name])
        if (found := inspect.getattr_static(owner.cls, name, UNKNOWN)) is not UNKNOWN:
            return _returned(_hints(found.fget).get("return")) if isinstance(found, property) else getattr(owner.cls, name)
        own = [one for one in owner.cls.__mro__ if one.__module__.startswith("trunkline")]
        if not any(re.search(rf"self\.{name}\b[^=\n]*(?:=|:)", inspect.getsource(one)) for one in own):
            self.wrong.append(f"{owner.cls.__name__}.{name}")
        return UNKNOWN


def not_there(text: str) -> list[str]:
    """What the Python of a page names that does not exist: of its blocks, which share their names, and within its sentences."""
    wrong: list[str] = []
    known = {name: one if inspect.ismodule(one) else Returned(one) for name, one in KNOWN.items()}
    for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        Names(known, wrong).visit(ast.parse(block))
    for named in re.findall(rf"`((?:{'|'.join(KNOWN)})\.[^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)):
        if re.search(r"\.(json|safetensors|meaning)$", named):  # a file, or a key of its metadata
            continue
        try:
            parsed = ast.parse(named)
        except SyntaxError:  # no Python
            continue
        Names(dict(known), wrong).visit(parsed)
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_the_python_of_the_pages_names_what_there_is(page):
    assert not_there(page.read_text(encoding="utf-8")) == []


def test_names_that_do_not_exist_are_found():
    text = """
```python
from trunkline import load_branch, no_such
branch = load_branch("x")
branch.tuned.tuner, branch.source.tuner, branch.task.labels, branch.task.label
bundle = trunkline.Bundle.open("x")
bundle.branches["a"].task.classes, bundle.branches["a"].tasks
[task.unknown for task in []], [branch.unknown for task in []]
```
`bundle.scores(texts)` and `bundle.score(texts)`, `branch.json`"""
    assert not_there(text) == [
        "trunkline.no_such", "Branch.tuned", "Task.label", "Branch.tasks", "Branch.unknown", "Bundle.scores",
    ]  # fmt: skip
