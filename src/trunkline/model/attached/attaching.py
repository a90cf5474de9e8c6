"""`attach`: what a program gives is checked, and branches are put on its model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from trunkline.errors import BadInput
from trunkline.model.arguments import texts_of
from trunkline.model.attached.attachment import Attachment
from trunkline.model.attached.given import loaded_branches, refuse_compiled, refuse_prompts
from trunkline.model.attached.matching import Trunked, check_precision, check_tokenizer, check_weights
from trunkline.model.attached.steps import Step
from trunkline.model.decision import checked_confidence
from trunkline.trunk.load import Trunk


def attach(
    model: Any,
    branches: Any,
    *more: Any,
    tokenizer: Any = None,
    texts: Sequence[str] | None = None,
    callback: Callable[[Step], Any] | None = None,
    min_confidence: float | None = None,
    trunk: str | Trunk | None = None,
    allow_precision_change: bool = False,
) -> Attachment:
    """Let branches read the layer states of a model while the caller runs it, without a pass of their own.

        with trunkline.attach(model, [emotion, entities], tokenizer=tokenizer) as taps:
            summary = model.generate(**inputs)
        taps["emotion"], taps["entities"]

    The model's outputs are, bit for bit, what they are without. `taps[NAME]` is a list with an answer for each text that went
    through the stack which the branch reads, in order: what `Bundle.predict` gives for a text of these tokens. Of a branch that
    tags words that is `spans` where a tokenizer is given, and `tokens` otherwise: a label for every token, special ones and
    later pieces of words included, at its `position` among the columns of the input. With `texts`, spans are in these; without,
    in what the tokenizer decodes (`taps.texts`).

    The passes of one generation, which share a cache, are one batch of texts: the prompts and what was generated, but for the
    last token and what ends a text, of which there are no states. Rows of a beam search are beams: their answers are about the
    tokens that each of them holds in the last pass. Without a cache each pass is a batch of its own. The encoder of an
    encoder-decoder model runs once in a generation, whatever the search.

    Passes of this thread are read, whoever runs them; other attachments, nested or in other threads, have answers of their own.
    What goes wrong while a pass is read does not disturb the model: it is raised when answers are asked for, and a warning says
    so at the end of the block.

    Args:
        model: a transformers model of an architecture of the table in docs/trunks.md, with any head, in a wrapper, or a
            transformers pipeline, whose tokenizer is taken.
        branches: a `Bundle`, loaded branches, their folders, those of runs, what `fit` returned, or a mapping of names to
            these.
        more: others like it.
        tokenizer: the model's; needed for `spans`, and checked against that of the branches.
        texts: what the model is given, in order.
        callback: called with a `Step` after each pass; its errors come through the model's call.
        min_confidence: as of `Bundle.predict`.
        trunk: where the trunk of the branches is now; it is needed only where the model is in another precision than its
            checkpoint, or than the branches were trained on.
        allow_precision_change: let branches answer from a model in another precision than they were trained on, after a check
            on sample texts whose result is in `findings`.

    Warns:
        UserWarning: each of `findings`: here, where branches answer from another precision; the others at the end of the block.

    Raises:
        BadInput: what is no model or no branch; a model of an unknown architecture, compiled, with virtual tokens of peft,
            of another width, with other weights or settings, or in another precision; another tokenizer; branches that change
            their trunk.
    """
    of_pipeline = None
    if not isinstance(model, nn.Module) and isinstance(getattr(model, "model", None), nn.Module):
        of_pipeline, model = getattr(model, "tokenizer", None), model.model
    if not isinstance(model, nn.Module):
        raise BadInput(f"model: found {type(model).__name__}, expected a transformers model or pipeline")
    refuse_compiled(model)
    refuse_prompts(model)
    found = loaded_branches([branches, *more] if more else branches)
    least = checked_confidence(min_confidence, (branch.task for branch in found.values()))
    if texts is not None:
        texts = texts_of("texts", "text", texts)
        if tokenizer is None and of_pipeline is None:
            raise BadInput("texts: found texts and no tokenizer, expected the tokenizer that makes the model's input of them")
    stacks: dict[str, Trunked] = {}
    said: list[str] = []
    for stack in dict.fromkeys(branch.trunk.stack for branch in found.values()):
        members = {name: branch for name, branch in found.items() if branch.trunk.stack == stack}
        trunked = stacks[stack] = Trunked.of(model, stack)
        unproven = check_weights(trunked, members)
        said += check_precision(trunked, members, unproven, allow_precision_change, trunk)
    if any(trunked.row.front is not None for trunked in stacks.values()):
        if tokenizer is not None or texts is not None:
            given = "a tokenizer" if texts is None else "texts"
            raise BadInput(f"{type(model).__name__}: found {given}, expected none: branches read the audio that it is given")
    else:
        tokenizer = of_pipeline if tokenizer is None else tokenizer
    if tokenizer is not None:
        check_tokenizer(tokenizer, found)
    for sentence in said:
        warnings.warn(sentence, stacklevel=2)
    return Attachment(model, found, stacks, tokenizer, texts, callback, least, said)
