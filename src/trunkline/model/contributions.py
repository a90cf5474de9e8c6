"""What each layer of each token of a text contributed to a branch's answer: of methods that tell it themselves
(`SideBranch.contributions`), and of weighted sums of layers (branches/sum_contributions.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trunkline.branches import LayerState, SideBranch
from trunkline.branches.sum_contributions import sum_contributions
from trunkline.data.corpus import Corpus
from trunkline.data.table import Table
from trunkline.errors import BadInput
from trunkline.inputs.batching import Layout, token_batches
from trunkline.model.arguments import asked
from trunkline.model.bundle import Bundle

BATCH_TOKENS = 1024  # whose states of all layers are held


@dataclass(frozen=True)
class Contributions:
    """What was contributed to the answer for one text.

    Attributes:
        tokens: T, as the tokenizer spells them, special ones too; of a long text those of its beginning that are read, or of
            all windows, one after the other, where the task reads these.
        layers: L, the layers that are read, rising.
        labels: C, what the logits are of.
        values: float32 (T, L, C). Of a weighted sum of layers, AdaLayers and its kin, in units of the logit: they add up to
            the logit of the text, before any temperature, less that of a text without features. Of other methods as they say
            themselves. Those of windows are divided by the number of these where the logits of a text are their mean, and where
            they are the largest 0 but for the window that has it.
    """

    tokens: list[str]
    layers: tuple[int, ...]
    labels: list[str]
    values: np.ndarray


def tells_contributions(module: SideBranch) -> bool:
    """Whether what each layer contributes to a text can be told of a method."""
    return type(module).contributions is not SideBranch.contributions or module.layer_sum() is not None


@torch.no_grad()
def contributions(bundle: Bundle, name: str, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[Contributions]:
    """What each layer of each token contributed to the logits of a branch, for each text.

    Args:
        bundle: it has the branch.
        name: of the branch.
        texts: what it reads, in order.
        pairs: the second text of each, where the branch was trained on pairs.

    Raises:
        BadInput: no branch of that name; one whose method tells no contributions, or that answers for words; and what
            `Bundle.predict` refuses.
    """
    plan = bundle.only(name).plan
    (one,), (branch,) = plan.passes, plan.branches.values()
    module, task = branch.module, branch.task
    if not tells_contributions(module):
        raise BadInput(f"branch {name!r}: its method, {branch.method.name}, does not tell what layers contribute")
    if one.trunk.reads == "audio":
        raise BadInput(f"branch {name!r}: its trunk reads audio; expected one that reads texts, whose tokens have names")
    if task.answers.level != "text":
        found_kind = f"a {task.kind} task, which answers for words"
        raise BadInput(f"branch {name!r}: found {found_kind}; expected one that answers for texts")
    given = asked([texts] if isinstance(texts, str) else texts, pairs, None, plan.check_pairs, "read")
    if not given.texts:
        return []
    corpus = Corpus(Table("texts", {"text": given.texts}), given.texts, given.pairs, None)
    encoded = plan.encode({one.pairs: corpus})[0]
    feed, read = one.states(encoded), np.flatnonzero(task.answers(encoded).read)
    device, found, logits = torch.device(one.trunk.device), dict[int, np.ndarray](), np.zeros((len(read), task.outputs))
    for batch in token_batches(encoded.lengths[read], tokens=BATCH_TOKENS):
        layout = Layout(torch.from_numpy(encoded.lengths[read[batch]]).to(device))
        states: dict[int, Tensor] = {}

        def receive(layer: int, rows: Tensor, states: dict[int, Tensor] = states) -> None:
            states[layer] = rows.to(device).float()

        feed.feed(read[batch], module.wanted(), receive)
        values = _told(module, states, layout).cpu().split(layout.lengths.tolist())
        found.update(zip(batch.tolist(), (own.numpy() for own in values), strict=True))
        if task.long_texts == "max":
            logits[batch] = module.finish(_folded(module, states, layout), layout).cpu().numpy()
    ids = np.split(encoded.ids, encoded.offsets[1:-1])
    tokens = [one.trunk.tokenizer.convert_ids_to_tokens(ids[sequence].tolist()) for sequence in read]
    told = []
    for text in range(encoded.n_texts):
        windows = np.flatnonzero(encoded.text_of[read] == text)
        shares = _shares(logits[windows], task.long_texts)
        values_of = np.concatenate([found[i] * share for i, share in zip(windows.tolist(), shares, strict=True)])
        every = [token for i in windows.tolist() for token in tokens[i]]
        told.append(Contributions(every, module.wanted(), list(task.labels), values_of))
    return told


def _told(module: SideBranch, states: Mapping[int, Tensor], layout: Layout) -> Tensor:
    """(N, L, C) of the texts of a batch."""
    if type(module).contributions is SideBranch.contributions:
        own = module.layer_sum()
        assert own is not None
        return sum_contributions(own, states, layout)
    return module.contributions(_folded(module, states, layout), layout)


def _folded(module: SideBranch, states: Mapping[int, Tensor], layout: Layout) -> Any:
    """What the branch has read of the texts of a batch."""
    carry: Any = None
    for layer, rows in states.items():
        carry = module.read(carry, layer, LayerState(rows, layout))
    return carry


def _shares(logits: np.ndarray, long_texts: str | None) -> np.ndarray:
    """What the logits (n, C) of each window count in those of their text, float32 (n, C)."""
    if len(logits) == 1 or long_texts != "max":
        return np.full(logits.shape, 1 / len(logits), np.float32)
    return (np.arange(len(logits))[:, None] == logits.argmax(0)).astype(np.float32)
