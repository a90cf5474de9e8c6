"""What a call of a user's model says about its tokens: their ids, which of them are real, and how many are in its cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trunkline.errors import BadInput


@dataclass(frozen=True)
class Call:
    """One call of B texts and t new tokens each.

    Attributes:
        ids (Tensor | None): int64 (B, t); None where the model was given embeddings.
        real (Tensor): bool (B, t), false where padding is.
        past (int): tokens of each text that earlier calls have put into the cache, padding included.
        cache (Any | None): the cache that the call was given.
        clips (tuple[bytes, ...]): of audio, a digest of each clip where passes may be repeated (`clips.Repeats`).
        spoiled (int): of audio, clips whose padding changes their states, as the model has no mask for it.
    """

    ids: Tensor | None
    real: Tensor
    past: int
    cache: Any | None
    clips: tuple[bytes, ...] = ()
    spoiled: int = 0

    @classmethod
    def read(cls, arguments: Mapping[str, Any]) -> Call:
        """Read it off the arguments of the module that is given the token ids.

        Raises:
            BadInput: neither ids nor embeddings, or a mask that does not say which tokens are real.
        """
        ids, embedded = arguments.get("input_ids"), arguments.get("inputs_embeds")
        given = ids if ids is not None else embedded
        if not isinstance(given, Tensor) or given.ndim < 2:
            raise BadInput("a pass was called without input_ids or inputs_embeds, so its tokens are unknown")
        if ids is not None:
            ids = ids.reshape(-1, ids.shape[-1])  # as some stacks read them
            given = ids
        cache = arguments.get("past_key_values")
        past = length_of(cache)
        real = _real(arguments.get("attention_mask"), given.shape[0], given.shape[1], past, given.device)
        return cls(ids, real, past, cache)


def length_of(cache: Any) -> int:
    """How many tokens of each text are in a cache of keys and values; 0 without one."""
    find = getattr(cache, "get_seq_length", None)
    return 0 if find is None else int(find())


def cache_of(output: Any) -> Any | None:
    """The cache that a stack returned, if it made or filled one."""
    if hasattr(output, "past_key_values"):
        return output.past_key_values
    parts = output if isinstance(output, tuple) else ()
    return next((part for part in parts if hasattr(part, "get_seq_length")), None)


def _real(mask: Any, texts: int, tokens: int, past: int, device: torch.device) -> Tensor:
    """Which of the new tokens are real, (B, t), of a mask in any of the forms that the library has.

    Of a mask of who attends to whom, (B, 1, t, S), that is told by whether a token attends to itself.
    """
    if isinstance(mask, Mapping):  # by kind of attention: all leave out padding
        mask = mask.get("full_attention", next(iter(mask.values()), None))
    if mask is None:
        return torch.ones(texts, tokens, dtype=torch.bool, device=device)
    if not isinstance(mask, Tensor) or mask.ndim not in (2, 3, 4):
        found = f"one of {mask.ndim} dimensions" if isinstance(mask, Tensor) else type(mask).__name__
        raise BadInput(f"attention mask: found {found}, expected (texts, tokens) or (texts, 1, tokens, tokens)")
    start = past if mask.shape[-1] >= past + tokens else 0
    if mask.ndim == 2:
        real = mask[:, start : start + tokens] > 0
    else:
        rows = mask[:, 0] if mask.ndim == 4 else mask  # all heads alike
        own = torch.diagonal(rows, offset=start, dim1=-2, dim2=-1)[:, :tokens]
        # Added to the scores it is 0 for what counts and very low for the rest; otherwise it says what counts.
        real = own > -1 if mask.is_floating_point() and mask.ndim == 4 else own > 0
    if real.shape[1] != tokens:
        raise BadInput(f"attention mask: found {mask.shape[-1]} tokens, expected {past + tokens}")
    return real.to(device).expand(texts, tokens)
