"""The call of transformers' `generate` that runs a pass.

Neither the arguments of a pass nor its cache say where a call of `generate` begins, or which rows it has finished, be it by an
id that ends a text, by stop strings or by a criterion of the program's own. So both are read off the interpreter's stack; where
no such call is on it, nothing is known.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any

from torch import Tensor, nn

UNFINISHED = (
    "unfinished_sequences"  # what the library calls the rows that still grow, one number each, in all its loops of rows
)


def outermost(model: nn.Module) -> FrameType | None:
    """The call of the model's `generate` that is under way in this thread; None outside of one. It is the outermost, as
    `generate` may call that of the class's parents: Whisper's does so several times.
    """
    own = _generates(type(model))
    return next((frame for frame in reversed(list(_frames())) if frame.f_code in own), None)


def called_within(outer: FrameType) -> FrameType | None:
    """The call that a running call waits for."""
    return next((frame for frame in _frames() if frame.f_back is outer), None)


def runs_whole(model: nn.Module, within: FrameType) -> bool:
    """Whether the pass, of a part of the model, is run by a call of the whole model within a running call."""
    whole = inspect.unwrap(type(model).forward).__code__
    for frame in _frames():
        if frame is within:
            return False
        if frame.f_code is whole:
            return True
    return False


def unfinished(part: nn.Module, texts: int) -> Tensor | None:
    """Which of the rows of a pass of `part` of a model are still generated, bool (texts,); None if that is not known."""
    for frame in _frames():
        if UNFINISHED in frame.f_code.co_varnames:
            here = frame.f_locals
            rows, model = here.get(UNFINISHED), here.get("self")
            # A model may run within the generation of another one, such as one that scores what that one generates.
            if isinstance(rows, Tensor) and rows.shape == (texts,) and _has(model, part):
                return rows.detach() > 0
            return None
    return None


def _frames() -> Iterator[FrameType]:
    """From the innermost out."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _generates(kind: type) -> set[CodeType]:
    return {inspect.unwrap(vars(one)["generate"]).__code__ for one in kind.__mro__ if "generate" in vars(one)}


def _has(model: Any, part: nn.Module) -> bool:
    return isinstance(model, nn.Module) and any(one is part for one in model.modules())
