"""From how many tasks on one way of serving them is cheaper than another, from what was measured of each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from trunkline.errors import BadInput


@dataclass(frozen=True)
class Price:
    """What N tasks cost: fixed + N * per_task, in seconds, bytes or anything else that is the same on both sides.

    Side branches on one trunk: `fixed` is a pass of the trunk, `per_task` what each branch adds to it. A tuned trunk for each
    task: `fixed` is 0, `per_task` a pass of a tuned trunk. In bytes: the trunk and a branch; 0 and a tuned trunk. LoRA that is
        not merged, in
    bytes: the trunk and its matrices.

    Raises:
        BadInput: a number that is negative or not finite.
    """

    fixed: float
    per_task: float

    def __post_init__(self) -> None:
        for key in ("fixed", "per_task"):
            value = getattr(self, key)
            if not (math.isfinite(value) and value >= 0):
                raise BadInput(key=key, found=f"{value:g}", expected="a number from 0 on")


def break_even(shared: Price, separate: Price) -> int | None:
    """Return the smallest N >= 1 such that for N tasks and for any more, `shared` costs less than `separate`; None: never.

    fixed + N * per_task is less on one side from N > (fixed difference) / (difference per task) on, if a task is cheaper there.
    A side that is cheaper for few tasks only, as each costs it more, is not cheaper from any N on.

    Args:
        shared: side branches on one trunk.
        separate: a tuned trunk for each task.
    """
    saved = Fraction(separate.per_task) - Fraction(
        shared.per_task
    )  # exact, so that equal prices are not taken for cheaper ones
    extra = Fraction(shared.fixed) - Fraction(separate.fixed)
    if saved < 0 or (saved == 0 and extra >= 0):
        return None
    return 1 if saved == 0 else max(1, math.floor(extra / saved) + 1)
