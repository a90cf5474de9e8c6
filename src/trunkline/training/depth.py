"""Upper layers that bring nothing, dropped from trained branches whose method puts a price on depth.

The price (branches/depth.py) moves weight to lower layers, but a layer is read, and the pass runs up to it, while it has any.
So once the weights are settled, every branch is scored on validation as it is, and again without the layers above each of
those that it reads. The lowest of these depths whose monitored metric is no worse than with all of them is taken. Test data
play no part in it, and the scores of the run are those of the branch that is saved.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from accelerate import Accelerator

from trunkline.model.part import Part
from trunkline.training.forward import split_scores
from trunkline.training.learner import Learner
from trunkline.training.sampling import SharedTexts, SplitFeed


def drop_layers(
    learners: Iterable[Learner], sources: Iterable[SharedTexts], accelerator: Accelerator, precision: str
) -> dict[str, dict[str, Any]]:
    """Have those branches that pay for depth read no more layers than they need. They are changed in place, and are in eval
    mode then, with what they read.

    Args:
        learners: with the weights that are kept.
        sources: where their tasks find their validation texts.
        accelerator, precision: as of `split_scores`.

    Returns:
        dict: for each task whose depth has a price: the `metric`, the depth `before` and the score with it, `untrimmed`; and
            the `depth` (the deepest layer that is still read) and its `score`, which are the same where nothing was dropped.
    """
    found: dict[str, dict[str, Any]] = {}
    splits = {name: source.validation for source in sources for name in source.validation.supervision}
    for learner in learners:
        for name, part in learner.parts.items():
            if part.branch.depth_penalty:
                learner.train(False)
                found[name] = _lowered(name, part, splits[name], accelerator, precision)
    return found


def _lowered(name: str, part: Part, split: SplitFeed, accelerator: Accelerator, precision: str) -> dict[str, Any]:
    reads, monitor = part.branch.wanted(), part.task.monitor
    candidates = {str(depth): replace(part, branch=_up_to(part.branch, depth)) for depth in reads}
    own = replace(
        split,
        supervision=dict.fromkeys(candidates, split.supervision[name]),
        pooled=dict.fromkeys(candidates, split.pooled[name]) if name in split.pooled else {},
    )
    judged = split_scores(candidates, own, accelerator=accelerator, precision=precision)
    scores = {depth: judged[str(depth)].get(monitor) for depth in reads}
    deepest, sign = reads[-1], 1 if part.task.higher_is_better else -1
    least = scores[deepest]
    good = [] if least is None else [d for d, score in scores.items() if score is not None and sign * score >= sign * least]
    depth = min(good, default=deepest)
    if depth < deepest:
        part.branch.keep([layer for layer in reads if layer <= depth])
    return {"metric": monitor, "before": deepest, "untrimmed": least, "depth": depth, "score": scores[depth]}


def _up_to(branch: Any, depth: int) -> Any:
    """A copy of a branch that reads the layers up to `depth` alone."""
    lower = copy.deepcopy(branch)
    lower.keep([layer for layer in branch.wanted() if layer <= depth])
    return lower
