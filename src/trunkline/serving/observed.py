"""What an engine has done, as it tells its observer: typed events, for metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Tokenised:
    """Texts were tokenised together, in so many seconds."""

    texts: int
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Computed:
    """A batch was computed: `tokens` of its texts, `padded` ones with padding."""

    texts: int
    tokens: int
    padded: int
    seconds: float


@dataclass(frozen=True)
class Presented:
    """The logits of a branch for some texts were decoded."""

    branch: str
    texts: int
    seconds: float


Observer = Callable[[Tokenised | Computed | Presented], None]
