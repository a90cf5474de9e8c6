"""The loops of decoding a few chains with a CRF on a CPU: bit for bit those of crf.py, in less time.

A step of a few chains is so little work that what takes the time is the calls. NumPy's cost less than torch's, and give the
same bits where a sum, a maximum or the place of a maximum is asked for; exponentials, logarithms and matrix products stay
torch's.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from trunkline.tasks import stopping


def viterbi(emissions: Tensor, bounds: list[int], start: Tensor, end: Tensor, to_from: Tensor) -> Tensor:
    """Return the best tags (M,).

    Args:
        emissions: fp32 (M, C), by step, longest chain first: step t is rows bounds[t]:bounds[t + 1].
        bounds: (steps + 1,).
        start, end: (C,) scores of coming first and last; -inf where a tag may not.
        to_from: (C to, C from) scores of transitions; -inf where they are forbidden.
    """
    given, first, last, scores = emissions.numpy(), start.numpy(), end.numpy(), to_from.numpy()
    steps, size = len(bounds) - 1, given.shape[1]
    back = np.empty(given.shape, np.int64)
    tags = np.empty(len(given), np.int64)
    best = given[: bounds[1]] + first
    wide = np.empty((len(best), size, size), np.float32)
    for step in range(steps):
        stopping.check(step)
        low, high = bounds[step], bounds[step + 1]
        if step:
            wide = wide[: high - low]
            np.add(best[:, None, :], scores, out=wide)
            wide.argmax(axis=2, out=back[low:high])
            best = wide.max(axis=2)
            best += given[low:high]
        going = bounds[step + 2] - high if step + 1 < steps else 0
        if going < high - low:
            tags[low + going : high] = (best[going:] + last).argmax(axis=1)
            best = best[:going]
        if going:
            best = best - best.max(axis=1, keepdims=True)  # only differences count; keeps fp32 exact enough
    for step in range(steps - 1, 0, -1):
        low, high = bounds[step], bounds[step + 1]
        before = bounds[step - 1]
        if high - low == 1:
            tags[before] = back[low, tags[low]]
        else:
            tags[before : before + high - low] = back[np.arange(low, high), tags[low:high]]
    return torch.from_numpy(tags)


def marginals(emissions: Tensor, bounds: list[int], start: Tensor, end: Tensor, weights: Tensor, least: float) -> Tensor:
    """Return the probability (M, C) of each tag at each row (forward-backward).

    Args:
        emissions, bounds, start, end: as of `viterbi`, in the dtype of the sums.
        weights: (C, C) exponentials of the transitions, 0 where they are forbidden.
        least: what a sum is at least, so that its logarithm is finite.
    """
    given, steps = emissions.numpy(), len(bounds) - 1
    alphas, sums = np.empty_like(given), torch.empty_like(emissions)
    np.add(start.numpy(), given[: bounds[1]], out=alphas[: bounds[1]])
    through = _Through(weights, least)
    for step in range(1, steps):
        stopping.check(step)
        low, high = bounds[step], bounds[step + 1]
        before = bounds[step - 1]
        found = through(alphas[before : before + high - low])
        np.add(found, given[low:high], out=alphas[low:high])
    through, total, last = _Through(weights.T.contiguous(), least), sums.numpy(), end.numpy()
    beta = np.empty((bounds[1], given.shape[1]), given.dtype)
    ahead = np.empty_like(beta)
    for step in range(steps - 1, -1, -1):
        stopping.check(step)
        low, high = bounds[step], bounds[step + 1]
        going = bounds[step + 2] - high if step + 1 < steps else 0
        if going:
            np.add(beta[:going], given[high : high + going], out=ahead[:going])
            beta[:going] = through(ahead[:going])
        if going < high - low:
            beta[going : high - low] = last
        np.add(alphas[low:high], beta[: high - low], out=total[low:high])
    return torch.softmax(sums, dim=1)


class _Through:
    """log(exp(scores) @ weights) for the chains (B, C) of a step; what it returns is overwritten by the next call."""

    def __init__(self, weights: Tensor, least: float) -> None:
        self._weights, self._least = weights, least
        self._chains = -1

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        if len(scores) != self._chains:
            self._chains = len(scores)
            self._shifted = torch.empty(scores.shape, dtype=self._weights.dtype)
            self._summed = torch.empty_like(self._shifted)
            self._shifted_array, self._summed_array = self._shifted.numpy(), self._summed.numpy()
        largest = scores.max(axis=1, keepdims=True)
        np.subtract(scores, largest, out=self._shifted_array)
        torch.exp(self._shifted, out=self._shifted)
        torch.mm(self._shifted, self._weights, out=self._summed)
        np.maximum(self._summed_array, self._least, out=self._summed_array)
        torch.log(self._summed, out=self._summed)
        return np.add(self._summed_array, largest, out=self._summed_array)
