"""The branches and the model that a program gives to `attach`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from trunkline.branches import methods
from trunkline.errors import BadInput
from trunkline.files import read_object
from trunkline.model.branch import Branch, load_branch
from trunkline.model.bundle import Bundle
from trunkline.model.folders import branch_folders
from trunkline.model.plan import named
from trunkline.tuners import Tuner


def refuse_compiled(model: nn.Module) -> None:
    """BadInput if torch.compile has compiled the model, a part of it, or the `forward` of one of these."""
    for module in model.modules():
        if "_orig_mod" in module._modules or module._compiled_call_impl is not None or _is_compiled(module.forward):
            raise BadInput(
                f"{type(model).__name__} was compiled by torch.compile: reading its layers would divide what was compiled and "
                "change its rounding; expected the model as it is before that"
            )


def _is_compiled(function: Any) -> bool:
    """Whether torch.compile has made a function, perhaps within a wrapper (a method, a partial, what functools.wraps makes)."""
    while function is not None:
        if hasattr(function, "_torchdynamo_orig_callable") and not hasattr(function, "_torchdynamo_disable"):
            return True
        function = getattr(function, "func", None) or getattr(function, "__wrapped__", None)
    return False


def refuse_prompts(model: nn.Module) -> None:
    """BadInput if a wrapper of peft puts tokens of its own before every text."""
    for module in model.modules():
        if getattr(getattr(module, "active_peft_config", None), "is_prompt_learning", False):
            raise BadInput(
                f"{type(module).__name__} puts virtual tokens before each text (prompt learning), which branches would read as "
                "part of it; expected the model without them"
            )


def loaded_branches(given: Any) -> dict[str, Branch]:
    """The branches that a program names: a bundle, loaded branches, their directories or those of runs; one, several or a
    mapping of names to these.

    Raises:
        BadInput: none, one twice, or one that changes its trunk.
    """
    if isinstance(given, Bundle):
        found = dict(given.branches)
    elif isinstance(given, Mapping):
        found = {}
        for name, one in given.items():
            if len(several := _loaded(one)) != 1:
                raise BadInput(f"branches[{name!r}]: found {len(several)} branches, expected one")
            found[str(name)] = several[0]
    else:
        several = [branch for one in _listed(given) for branch in _loaded(one)]
        found = named(several)
    if not found:
        raise BadInput("branches: found none, expected at least one")
    for name, branch in found.items():
        if branch.source.trunk is not None:
            raise _changing(name, branch.method.name)
    return found


def _listed(given: Any) -> list[Any]:
    if isinstance(given, str | Path | Branch) or hasattr(given, "path"):
        return [given]
    try:
        return list(given)
    except TypeError:
        raise BadInput(
            f"branches: found {type(given).__name__}, expected branches, their folders, those of runs, or a Bundle"
        ) from None


def _loaded(one: Any) -> list[Branch]:
    if isinstance(one, Branch):
        return [one]
    if isinstance(one, Bundle):
        return list(one.branches.values())
    if isinstance(one, list | tuple):
        return [branch for each in one for branch in _loaded(each)]
    place = getattr(one, "path", one)
    if not isinstance(place, str | Path):
        raise BadInput(f"branches: found {type(one).__name__}, expected a branch, its folder, that of a run, or a Bundle")
    found = []
    for folder in branch_folders(Path(place)):
        if (file := folder / "branch.json").is_file():
            method = read_object(file).get("method")
            name = method.get("name") if isinstance(method, dict) else None
            if name in methods.names() and issubclass(methods.get(name), Tuner):
                raise _changing(str(folder), name)
        found.append(load_branch(folder))
    return found


def _changing(which: str, method: str) -> BadInput:
    return BadInput(
        f"{which}: method {method} changes its trunk, so it needs a pass of its own and cannot ride on another model's; "
        "expected a side branch (Bundle predicts with this one)"
    )
