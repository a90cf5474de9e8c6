"""Learning-rate schedules as plain functions of progress, so that a resumed run needs no scheduler state.

`progress` is the share of all optimiser steps already done, 0 <= progress < 1. `one_cycle` is Smith & Topin 2018
(arXiv 1708.07120) as torch's OneCycleLR does it (cosine annealing, rise from 1/25, fall to 1/250,000) with the momentum
left alone; `linear` and `cosine` are transformers' schedules with warm-up; `plateau` halves on its own signal (mission D).
"""

from __future__ import annotations

import math


def factor(schedule: str, progress: float, warmup: float) -> float:
    """Return what the peak learning rate is multiplied by at `progress`, for any schedule of the `training:` section."""
    if schedule == "one_cycle":
        low, end = 1 / 25, 1 / 25e4
        if progress < warmup:
            return _cosine(low, 1.0, progress / warmup)
        return _cosine(1.0, end, (progress - warmup) / (1 - warmup))
    if progress < warmup:
        return progress / warmup
    after = (progress - warmup) / (1 - warmup)
    if schedule == "linear":
        return 1 - after
    if schedule == "cosine":
        return _cosine(1.0, 0.0, after)
    return 1.0


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
