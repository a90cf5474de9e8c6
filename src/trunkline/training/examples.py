"""Training examples and their layer states in memory, which branches ask for before they are trained."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor

from trunkline.branches.examples import Asked, Examples
from trunkline.branches.group import pooling_of
from trunkline.inputs.batching import Layout, token_batches
from trunkline.inputs.encoded import Encoded, ranges
from trunkline.model.part import Part
from trunkline.seeding import seeded
from trunkline.tasks import Criterion
from trunkline.training.agreement import as_in_main
from trunkline.training.learner import Learner
from trunkline.training.sampling import SharedTexts, SplitFeed
from trunkline.training.supervision import Supervision

MOST_BYTES = 1 << 27  # of states, or
LEAST = 1024  # examples where so many take more
TOKENS = 4096  # of a batch


def examine(
    learners: Iterable[Learner], sources: list[SharedTexts], seed: int, special: Collection[int], accelerator: Accelerator
) -> None:
    """Let each branch that asks for it look at examples that it learns from.

    A task has its own draw of texts, by the seed alone, so that it starts the same whatever other tasks there are. The
    learners are put into evaluation mode, as a trunk that is trained would drop something.

    Args:
        learners: whose branches.
        sources: where their tasks find their texts.
        seed: of the run.
        special: ids of the special tokens, which stand for nothing in a text.
        accelerator: joins several processes, which all take what the main one finds: another device may round otherwise.
    """
    for learner, part in ((own, part) for own in learners for part in own.parts.values()):
        if (asked := part.branch.examines()) is None:
            continue
        learner.train(False)
        source = next(one for one in sources if part.task.name in one.train.supervision)
        found = gather(source.train, part, asked, seed, special)
        with seeded(seed, "examples", part.task.name):
            part.branch.examine(found)
        if accelerator.num_processes > 1:
            for value in part.branch.state_dict().values():
                as_in_main(accelerator, value)


def special_ids(tokenizer: Any) -> list[int]:
    """Ids of the tokens that a tokenizer puts around and between texts, and on padding."""
    found = (getattr(tokenizer, f"{name}_token_id", None) for name in ("bos", "eos", "cls", "sep", "pad"))
    return sorted({number for number in found if number is not None})


@torch.no_grad()
def gather(split: SplitFeed, part: Part, asked: Asked, seed: int, special: Collection[int]) -> Examples:
    """The examples of a task in random order: as many as fit into MOST_BYTES, but LEAST where fewer do; of words those of whole
    texts."""
    room = max(LEAST, MOST_BYTES // (4 * split.feed.hidden_size * len(asked.layers)))
    drawn = _drawn(split.supervision[part.task.name], room, seed)
    pooled = split.pooled.get(part.task.name) if pooling_of(part.branch) == asked.pooling else None
    feed = split.feed if pooled is None else pooled
    states = {layer: torch.empty(len(drawn.places), feed.hidden_size) for layer in asked.layers}
    for batch in token_batches(feed.lengths[drawn.sequences], tokens=TOKENS):
        here, take = _taking(drawn, batch, feed.lengths, asked.pooling, special)

        def receive(layer: int, rows: Tensor, here: Tensor = here, take: Callable[[Tensor], Tensor] = take) -> None:
            states[layer][here] = take(rows.cpu().float())

        feed.feed(drawn.sequences[batch], asked.layers, receive)
    return Examples(states, drawn.targets, partial(_loss, part.criterion, drawn))


@dataclass(frozen=True)
class _Drawn:
    """M examples that were drawn.

    Attributes:
        encoded: the texts that they lie in.
        sequences: (S,) the sequences of these, in random order.
        places: (M,) the place of each example's own among the sequences, rising.
        within: (M,) its row in that; None where a text is one example.
        targets: (M, ...).
        weights: (M,), of their losses; None: 1.
    """

    encoded: Encoded
    sequences: np.ndarray
    places: Tensor
    within: Tensor | None
    targets: Tensor
    weights: Tensor | None


def _drawn(supervision: Supervision, room: int, seed: int) -> _Drawn:
    """At most `room` examples, but those of one text at least."""
    sequences = np.random.default_rng(seed).permutation(np.flatnonzero(supervision.supervised))[:room]  # each has one at least
    layout = Layout(torch.from_numpy(supervision.encoded.lengths[sequences].astype(np.int64)))
    picked = supervision.pick(sequences, layout, torch.device("cpu"))
    assert picked is not None, "a task without a training sequence is refused while preparing"
    if picked.rows is None or picked.groups is None:
        places, targets, weights = torch.arange(len(sequences)), picked.targets, picked.weights
        if picked.of is not None:  # each window is an example, with the target of its text
            targets, weights = targets[picked.of], None if weights is None else weights[picked.of]
        return _Drawn(supervision.encoded, sequences, places, None, targets, weights)
    whole = max(1, int(picked.groups[room])) if len(picked.groups) > room else len(sequences)
    kept = picked.groups < whole
    places = picked.groups[kept]
    within = picked.rows[kept] - layout.starts[places]
    weights = None if picked.weights is None else picked.weights[kept]
    return _Drawn(supervision.encoded, sequences[:whole], places, within, picked.targets[kept], weights)


def _taking(
    drawn: _Drawn, batch: np.ndarray, lengths: np.ndarray, pooling: str, special: Collection[int]
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """The examples that lie in a batch of sequences, (m,), and what makes their states (m, K) of its packed rows (N, K).

    Args:
        drawn: the examples.
        batch: (B,) numbers of its sequences, which the batch is made of in this order.
        lengths: of all sequences of the feed.
        pooling, special: as asked for.
    """
    sequences = drawn.sequences[batch]
    layout = Layout(torch.from_numpy(lengths[sequences].astype(np.int64)))
    order = torch.full((len(drawn.sequences),), -1)
    order[torch.from_numpy(batch)] = torch.arange(len(batch))
    here = (order[drawn.places] >= 0).nonzero().flatten()
    own = order[drawn.places[here]]
    if drawn.within is not None:
        rows = layout.starts[own] + drawn.within[here]
        return here, lambda states: states[rows]
    if pooling == "content":
        content = _content(drawn.encoded, sequences, special)
        return here, lambda states: (layout.means(states * content) / layout.means(content))[own]
    how: Any = pooling
    return here, lambda states: layout.pooled(states, how)[own]


def _content(encoded: Encoded, sequences: np.ndarray, special: Collection[int]) -> Tensor:
    """(N, 1) float: 1 for the rows of `sequences` that stand for something in the text; all of a sequence where none does."""
    begin, lengths = encoded.offsets[sequences], encoded.lengths[sequences].astype(np.int64)
    content = ~np.isin(encoded.ids[ranges(begin, lengths)], np.fromiter(special, np.int64, len(special)))
    empty = np.add.reduceat(content, np.cumsum(lengths) - lengths, dtype=np.int64) == 0
    return torch.from_numpy(content | np.repeat(empty, lengths))[:, None].float()


def _loss(criterion: Criterion, drawn: _Drawn, logits: Tensor, numbers: Tensor) -> Tensor:
    """The mean loss of logits (m, C) for the examples `numbers` (m,)."""
    targets = drawn.targets[numbers].to(logits.device)
    if any(True for _ in criterion.parameters()):  # a CRF is about whole texts, and here are words one by one
        return F.cross_entropy(logits.float(), targets)
    weights = None if drawn.weights is None else drawn.weights[numbers].to(logits.device)
    groups = None if drawn.within is None else drawn.places[numbers].to(logits.device)
    return criterion.loss(logits, targets, groups, weights)
