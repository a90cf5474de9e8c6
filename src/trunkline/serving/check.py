"""What is served is tried on sample texts before a request sees it: all of it at start, later each branch beside the others."""

from __future__ import annotations

import numpy as np

from trunkline.errors import BadInput
from trunkline.model.arguments import asked
from trunkline.model.bundle import Bundle
from trunkline.model.portions import Answered, answered, portion

SAMPLES = ("a short text", "", "Two sentences. Ulan Bator is a city!", "\u00e9t\u00e9 \u4e2d\u6587 \U0001f600 42", "word " * 40)
TOLERANCE = {"fp32": 1e-4, "bf16": 1e-1}  # of logits that were computed alone and beside other branches, by the largest of them


def warm_up(bundle: Bundle) -> None:
    """Run all branches once, so that what is compiled is compiled now, and not while a request waits for it.

    The graphs of all branches of a pass serve any of them, so requests for some of the tasks find theirs made, too.

    Raises:
        TrunklineError: a backend cannot compile a trunk.
    """
    _run(bundle)


def check_branch(bundle: Bundle, name: str) -> None:
    """Raise BadInput unless a branch gives finite logits on sample texts, the same alone and beside the other branches."""
    together, alone = _run(bundle)[name].logits, _run(bundle.only(name))[name].logits
    if not np.isfinite(together).all():
        raise BadInput(f"branch {name!r}: found outputs that are not finite on sample texts, expected numbers")
    scale = max(1.0, float(np.abs(alone).max(initial=0)))
    precision = bundle.plan.pass_of(name).precision
    if not np.allclose(together, alone, rtol=0, atol=TOLERANCE[precision] * scale):
        raise BadInput(f"branch {name!r}: found other outputs beside the other branches than alone, expected the same")


def _run(bundle: Bundle) -> dict[str, Answered]:
    pairs = SAMPLES[::-1] if any(one.pairs for one in bundle.plan.passes) else None
    given = asked(SAMPLES, pairs, None, lambda found: None, "read")
    return answered(bundle.plan, portion(bundle.plan, given, range(len(SAMPLES))))
