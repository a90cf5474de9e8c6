"""Pooled states kept in memory for a whole training, for branches that read these: all that a text's tokens come to, once."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from trunkline.branches import SideBranch
from trunkline.branches.group import pooling_of
from trunkline.inputs.batching import Pooling
from trunkline.states.live import Feed
from trunkline.states.pooled import PooledStates, pooled_bytes
from trunkline.training.sampling import SplitFeed
from trunkline.training.supervision import Supervision

MOST_BYTES = 1 << 27  # of a split's states that are kept in memory; larger ones are pooled batch by batch, in every epoch


def pooled_split(
    feed: Feed, supervision: dict[str, Supervision], branches: Mapping[str, SideBranch], most: int | None = None
) -> SplitFeed:
    """A split with the pooled states that its `branches` (by task) read, where these are small enough for the memory.

    Args:
        feed: the split's states, which are the same in every epoch.
        supervision: by task.
        branches: by task.
        most: bytes of the states of one pooling that are kept; MOST_BYTES by default.
    """
    most = MOST_BYTES if most is None else most
    poolings: dict[Pooling, list[str]] = {}
    for name, branch in branches.items():
        if (pooling := pooling_of(branch)) is not None:
            poolings.setdefault(pooling, []).append(name)
    layers = {pooling: {layer for name in names for layer in branches[name].layers} for pooling, names in poolings.items()}
    measured = {layer for branch in branches.values() for layer in branch.measures()}
    # One that serves both, where the memory has room for all of its layers.
    means = _pooled(feed, layers.get("mean", set()) | measured, "mean", most) if measured else None
    pooled: dict[str, PooledStates] = {}
    for pooling, names in poolings.items():
        states = means if pooling == "mean" and means is not None else _pooled(feed, layers[pooling], pooling, most)
        pooled |= dict.fromkeys(names, states) if states is not None else {}
    return SplitFeed(feed, supervision, pooled, means if means is not None else _pooled(feed, measured, "mean", most))


def _pooled(feed: Feed, layers: Collection[int], pooling: Pooling, most: int) -> PooledStates | None:
    """None where there is no layer, or they are too large."""
    if not layers or pooled_bytes(len(feed.lengths), feed.hidden_size, len(layers)) > most:
        return None
    return PooledStates(feed, layers, pooling)
