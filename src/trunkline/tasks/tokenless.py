"""Long runs of words without a token, which a CRF need not be asked for.

Control characters and characters without width are words for the division into words and nothing for most tokenizers, so a text
of two tokens may have 200,000 words. Their logits say "O" (`SURE` in answers.py). The words at both ends of a run are decoded:
beyond them the other end has no effect that fp64 could show.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from trunkline.tasks.answers import SURE

ENDS = 32  # words at either end of a run that are decoded


def decoded_units(logits: Tensor, offsets: np.ndarray) -> np.ndarray | None:
    """Return which units (U,) are to be decoded, bool; None for all.

    Args:
        logits: (U, C).
        offsets: (texts + 1,): units of text t are offsets[t]:offsets[t + 1].
    """
    sure = (logits[:, 0] == SURE).cpu().numpy()
    if np.count_nonzero(sure) <= 2 * ENDS:
        return None
    sure &= (logits[:, 1:] == 0).all(dim=1).cpu().numpy()
    begins = sure.copy()
    begins[1:] &= ~sure[:-1]
    firsts = np.asarray(offsets[:-1])
    firsts = firsts[firsts < len(sure)]
    begins[firsts] = sure[firsts]
    run = np.cumsum(begins)[sure] - 1
    place = np.flatnonzero(sure)
    from_start = place - np.flatnonzero(begins)[run]
    from_end = np.bincount(run)[run] - 1 - from_start if len(run) else from_start
    decoded = np.ones(len(sure), bool)
    decoded[place] = (from_start < ENDS) | (from_end < ENDS)
    return None if decoded.all() else decoded


def offsets_among(decoded: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return the offsets (texts + 1,) of the units that are `decoded` (U,)."""
    counted: np.ndarray = np.concatenate([[0], np.cumsum(decoded)])[offsets]
    return counted


def filled(found: Tensor, decoded: np.ndarray, other: Tensor) -> Tensor:
    """Return what was found for the units that are `decoded` (U,), and `other` for each of the rest."""
    whole = other.to(found).expand(len(decoded), *found.shape[1:]).clone()
    whole[torch.from_numpy(decoded).to(found.device)] = found
    return whole
