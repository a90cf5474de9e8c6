"""Types of the estimators' parameters: a string that spells a number is refused, as scikit-learn's own estimators refuse it."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from trunkline.errors import BadInput, literal

_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "method": ((str, Mapping), "a name or a mapping"),
    "trunk": ((str, Path, Mapping), "a name, a folder or a mapping"),
    "epochs": ((Integral, type(None)), "a whole number or None"),
    "learning_rate": ((Real, type(None)), "a number or None"),
    "training": ((Mapping, type(None)), "a mapping or None"),
    "validation_fraction": ((Real,), "a number"),
    "verbose": ((bool, Integral), "a truth value or a number"),
}


_ALSO = {"epochs": "epochs", "learning_rate": "learning_rate", "seed": "random_state"}  # of `training`, and the parameter


def checked(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters with their numbers as Python's own; BadInput for one of another type.

    Whether a value is a possible one is checked as in a config.
    """
    found = dict(parameters)
    for name, (types, expected) in _TYPES.items():
        value = found[name]
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise BadInput(key=name, found=literal(value), expected=expected)
        if isinstance(value, Real) and not isinstance(value, bool):
            found[name] = int(value) if isinstance(value, Integral) else float(value)
    training = found["training"] or {}
    for key, name in _ALSO.items():
        if key in training and (found[name] is not None or key == "seed"):
            raise BadInput(f"found {key}, which {name}= sets; expected it in one place", key="training")
    return found
