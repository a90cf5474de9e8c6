"""What a pass costs for those layers of the trunk that are read: it ends at the deepest of them. Loads nothing heavy.

Counted in blocks, not measured: the blocks of a trunk are alike, and what comes before the first (looking up embeddings) and
what branches add take little beside them. `trunkline fit --depths` measures.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any


def pass_cost(reads: Collection[int], trunk: Mapping[str, Any]) -> dict[str, Any]:
    """How far a pass runs.

    Args:
        reads: the layers that are read.
        trunk: `num_layers` and `stack`, as branch.json has them.

    Returns:
        dict: the `blocks` that are computed, `of` how many, and their `share`; None for a decoder behind an encoder, which is
            computed whole for any layer of the decoder.
    """
    blocks, of = max(reads, default=0), int(trunk["num_layers"])
    return {"blocks": blocks, "of": of, "share": None if trunk["stack"] == "decoder" else round(blocks / of, 4)}


def pass_sentence(costs: Mapping[str, Mapping[str, Any]]) -> str:
    """What is said of the passes of tasks, by name; those that read a frozen trunk share the deepest."""
    together = max(costs.values(), key=lambda cost: cost["blocks"])
    said = f"{together['blocks']} of {together['of']} blocks, {_beside(together)}"
    if len({cost["blocks"] for cost in costs.values()}) > 1:
        said += "; alone: " + ", ".join(f"{name} {cost['blocks']}" for name, cost in costs.items())
    return said


def _beside(cost: Mapping[str, Any]) -> str:
    if cost["share"] is None:
        return "after those of the encoder"
    return f"{cost['share']:.2f}x of the full pass (counted in blocks)"
