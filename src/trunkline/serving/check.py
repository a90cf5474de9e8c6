"""A branch is tried on sample texts beside those that are served before any request sees it."""

from __future__ import annotations

import numpy as np

from trunkline.errors import BadInput
from trunkline.model.arguments import asked
from trunkline.model.bundle import Bundle
from trunkline.model.portions import answered, portion

SAMPLES = ("a short text", "", "Two sentences. Ulan Bator is a city!", "\u00e9t\u00e9 \u4e2d\u6587 \U0001f600 42", "word " * 40)
TOLERANCE = {"fp32": 1e-4, "bf16": 1e-1}  # of logits that were computed alone and beside other branches, by the largest of them


def check_branch(bundle: Bundle, name: str) -> None:
    """Raise BadInput unless a branch gives finite logits on sample texts, the same alone and beside the other branches."""
    together, alone = _logits(bundle, name), _logits(bundle.only(name), name)
    if not np.isfinite(together).all():
        raise BadInput(f"branch {name!r}: found outputs that are not finite on sample texts, expected numbers")
    scale = max(1.0, float(np.abs(alone).max(initial=0)))
    precision = bundle.plan.pass_of(name).precision
    if not np.allclose(together, alone, rtol=0, atol=TOLERANCE[precision] * scale):
        raise BadInput(f"branch {name!r}: found other outputs beside the other branches than alone, expected the same")


def _logits(bundle: Bundle, name: str) -> np.ndarray:
    pairs = SAMPLES[::-1] if any(one.pairs for one in bundle.plan.passes) else None
    given = asked(SAMPLES, pairs, None, lambda found: None, "read")
    return answered(bundle.plan, portion(bundle.plan, given, range(len(SAMPLES))))[name].logits
