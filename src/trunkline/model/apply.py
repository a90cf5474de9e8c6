"""Run trained branches over encoded texts, all in one pass, and collect their logits.

Evaluation while training, the final test and prediction all go through here, so they cannot differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

import numpy as np
import torch

from trunkline.branches import BranchGroup, SideBranch
from trunkline.inputs.batching import Layout, token_batches
from trunkline.inputs.encoded import Encoded
from trunkline.states.live import Feed
from trunkline.tasks import Task

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}  # of a branch's matrix products


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Mixed precision for the side branches: matrix products in bf16, weights and norms in fp32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def frozen_group(branches: Mapping[str, SideBranch], precision: str) -> BranchGroup:
    """Branches that are applied together in `precision`, their weights stacked and cast: a snapshot that threads may share."""
    return BranchGroup(branches, PRECISIONS[precision])


@torch.no_grad()
def collect_logits(
    branches: Mapping[str, tuple[Task, SideBranch]],
    feed: Feed,
    encoded: Encoded,
    *,
    precision: str,
    device: torch.device,
    batch_tokens: int = 4096,
    progress: Callable[[int], None] | None = None,
    share: tuple[int, int] = (0, 1),
    group: BranchGroup | None = None,
) -> dict[str, np.ndarray]:
    """Return float32 logits of every branch: (texts, outputs) at text level, (units, outputs) at unit level.

    Args:
        branches: by name, the task and the module in eval mode.
        feed: where layer states come from; each batch is read once for all branches.
        encoded: the texts; long ones are read at text level from their first window.
        precision: fp32 or bf16, of the branches.
        batch_tokens: rows of the feed in a batch, padding included.
        progress: called with the number of sequences done after each batch.
        share: (i, n): only every n-th batch from the i-th on; the other rows stay zero.
        group: of these branches in this precision, where it is at hand; made here otherwise.
    """
    if not branches:
        return {}
    answers = {name: task.answers(encoded) for name, (task, _) in branches.items()}
    logits = {name: np.zeros((answers[name].count, task.outputs), np.float32) for name, (task, _) in branches.items()}
    read = np.logical_or.reduce([own.read for own in answers.values()])
    group = group or frozen_group({name: branch for name, (_, branch) in branches.items()}, precision)
    batches = token_batches(feed.lengths, tokens=batch_tokens)
    for sequences in batches[share[0] :: share[1]]:
        sequences = sequences[read[sequences]]
        if len(sequences) == 0:
            continue
        layout = Layout(torch.from_numpy(feed.lengths[sequences].astype(np.int64)).to(device))
        places = {name: own.places(sequences) for name, own in answers.items()}
        rows = {name: None if own.rows is None else torch.from_numpy(own.rows).to(device) for name, own in places.items()}
        with autocast(device, precision):
            batch = group.start(layout)
            feed.feed(sequences, group.wanted(), batch.read)
            found = batch.finish(rows)
        for name, place in places.items():
            answer = found[name].float().cpu().numpy()
            logits[name][place.into] = answer if place.kept is None else answer[place.kept]
        if progress:
            progress(len(sequences))
    if share[0] == 0:
        for name, own in answers.items():
            own.complete(logits[name])
    return logits
