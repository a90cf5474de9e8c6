"""What a `method:` section names: a side branch or a tuner, and the head of a tuner."""

from __future__ import annotations

from typing import Any

from trunkline.branches import methods
from trunkline.errors import BadInput
from trunkline.model.checking import at, named_section
from trunkline.tuners.base import Tuner


def is_tuner(config: Any) -> bool:
    """Whether a `method:` section names a tuner."""
    return issubclass(methods.get(config.name), Tuner)


def resolve_head(method: Any, where: str) -> None:
    """Check the `head` of a tuner: "plain", or the section of the side branch that reads the changed trunk."""
    head = getattr(method, "head", None)
    if head is None or head == "plain" or not issubclass(methods.get(method.name), Tuner):
        return
    head = {"name": head} if isinstance(head, str) else head
    method.head = named_section(head, "name", methods, where, "method.head")
    if issubclass(methods.get(method.head.name), Tuner):
        found = f"the tuner {method.head.name}"
        raise BadInput(found=found, expected="plain or a side branch", **at(where, "method.head"))
