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
        tokens: T, as the tokenizer spells them, special ones too; of a long text those of its beginning that are read.
        layers: L, the layers that are read, rising.
        labels: C, what the logits are of.
        values: float32 (T, L, C). Of a weighted sum of layers, AdaLayers and its kin, in units of the logit: they add up to
            the logit of the text, before any temperature, less that of a text without features. Of other methods as they say
            themselves.
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
    if task.answers.joined and (long := np.flatnonzero(encoded.longer)).size:
        reads = f"reads all windows of a long text (long_texts: {task.long_texts})"
        expected = f"texts of one window, {one.cut.max_length} tokens at most"
        raise BadInput(f"texts[{long[0]}]: branch {name!r} {reads}, and contributions are told of one; expected {expected}")
    feed, first = one.states(encoded), encoded.first_sequence()
    device, found = torch.device(one.trunk.device), dict[int, np.ndarray]()
    for batch in token_batches(encoded.lengths[first], tokens=BATCH_TOKENS):
        layout = Layout(torch.from_numpy(encoded.lengths[first[batch]]).to(device))
        states: dict[int, Tensor] = {}

        def receive(layer: int, rows: Tensor, states: dict[int, Tensor] = states) -> None:
            states[layer] = rows.to(device).float()

        feed.feed(first[batch], module.wanted(), receive)
        values = _told(module, states, layout).cpu().split(layout.lengths.tolist())
        found.update(zip(batch.tolist(), (own.numpy() for own in values), strict=True))
    ids = np.split(encoded.ids, encoded.offsets[1:-1])
    tokens = [one.trunk.tokenizer.convert_ids_to_tokens(ids[sequence].tolist()) for sequence in first]
    return [Contributions(own, module.wanted(), list(task.labels), found[text]) for text, own in enumerate(tokens)]


def _told(module: SideBranch, states: Mapping[int, Tensor], layout: Layout) -> Tensor:
    """(N, L, C) of the texts of a batch."""
    if type(module).contributions is SideBranch.contributions:
        own = module.layer_sum()
        assert own is not None
        return sum_contributions(own, states, layout)
    carry: Any = None
    for layer, rows in states.items():
        carry = module.read(carry, layer, LayerState(rows, layout))
    return module.contributions(carry, layout)
