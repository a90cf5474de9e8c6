"""Mean and standard deviation of pooled layer states over training texts, which branches ask for before they are trained."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from trunkline.branches import LayerState
from trunkline.inputs.batching import Layout, token_batches
from trunkline.training.learner import Learner
from trunkline.training.sampling import SharedTexts, SplitFeed

TEXTS = 1024  # are enough: an error of 3 % of the deviation
TOKENS = 4096  # of a batch

Moments = dict[int, tuple[Tensor, Tensor]]


def standardise(learners: Iterable[Learner], sources: list[SharedTexts], seed: int) -> None:
    """Let each branch that asks for it take note of the mean and deviation of pooled states over texts that it learns from.

    A task has its own draw of texts, by the seed alone, so that it starts the same whatever other tasks there are. The
    learners are put into evaluation mode, as a trunk that is trained would drop something.
    """
    known: dict[tuple[int, tuple[int, ...], bytes], Moments] = {}
    for learner, part in ((own, part) for own in learners for part in own.parts.values()):
        if not (layers := part.branch.measures()):
            continue
        learner.train(False)
        number, source = next((i, one) for i, one in enumerate(sources) if part.task.name in one.train.supervision)
        chosen = np.flatnonzero(source.train.supervision[part.task.name].supervised)
        chosen = np.sort(np.random.default_rng(seed).permutation(chosen)[:TEXTS])
        key = (number, layers, chosen.tobytes())
        if key not in known:
            known[key] = moments(source.train, chosen, layers)
        part.branch.standardise(known[key])


@torch.no_grad()
def moments(split: SplitFeed, sequences: np.ndarray, layers: tuple[int, ...]) -> Moments:
    """By layer, mean and standard deviation, (K,) float32 each, of the states' means over the tokens of each sequence."""
    feed = split.feed if split.means is None else split.means
    lengths = feed.lengths[sequences]
    sums: dict[int, Tensor] = {}
    for batch in token_batches(lengths, tokens=TOKENS):
        layout = Layout(torch.from_numpy(lengths[batch].astype(np.int64)))

        def receive(layer: int, rows: Tensor, layout: Layout = layout) -> None:
            pooled = LayerState(rows.cpu(), layout).pooled().double()
            found = torch.stack([pooled.sum(0), pooled.square().sum(0)])
            sums[layer] = sums[layer] + found if layer in sums else found

        feed.feed(sequences[batch], layers, receive)
    found: Moments = {}
    for layer, (first, second) in sums.items():
        mean = first / len(sequences)
        deviation = (second / len(sequences) - mean.square()).clamp(min=0).sqrt()
        found[layer] = mean.float(), deviation.float()
    return found
