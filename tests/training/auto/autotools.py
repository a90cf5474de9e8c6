"""A small family, and what is told of its search."""

from __future__ import annotations

from synthetic import config

from trunkline.branches import methods
from trunkline.training.auto.family import Candidate


def candidate(name: str, rate: float, **keys) -> Candidate:
    return Candidate(methods.get(name).Config(name=name, **keys), rate)


SMALL = {"dim": 16, "heads": 2, "dropout": 0.0}
FAMILY = [
    candidate("probe", 1e-2, layer=3),
    candidate("probe", 1e-2, layer=1),
    candidate("single_layer", 1e-2, layer=2, **SMALL),
    candidate("adalayers", 1e-2, **SMALL),
    candidate("adalayers", 1e-3, **SMALL),
    candidate("adalayers", 3e-2, **{**SMALL, "dim": 8}),
]


def use_family(patch, family=FAMILY, reference=FAMILY[3]) -> None:
    """Let `method: auto` choose among these, and count costs in those of another."""
    patch.setattr("trunkline.training.auto.search.family", lambda trunk, output, rate=None: list(family))
    use_reference(patch, reference)
    patch.setattr("trunkline.training.auto.family.DEEP_RATES", (1e-2, 2e-3))


def use_reference(patch, one) -> None:
    """Let it stand for AdaLayers by default."""
    for module in ("search", "family"):
        patch.setattr(f"trunkline.training.auto.{module}.reference", lambda: one.method)


def auto_config(trunk, rows, tasks=("mood",), **training) -> dict:
    values = config(trunk, rows, tasks=tasks, precision="fp32", states_dtype="fp32", **training)
    values["method"] = "auto"
    del values["training"]["learning_rate"]
    return values
