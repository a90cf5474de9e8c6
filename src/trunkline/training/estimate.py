"""How long training will take, by the speed of its first batches."""

from __future__ import annotations

SECONDS, BATCHES = 2.0, 3  # that are measured at least
FORWARD = 1 / 3  # of the time of a training step, that of scoring the same tokens: there is no way back


class Estimate:
    """Told of every batch, it answers once.

    Args:
        batches: that are still to be trained on.
        judged: validation tokens that are scored for each token that is trained on.
    """

    def __init__(self, batches: int, judged: float) -> None:
        self.batches, self.judged = batches, judged
        self._count, self._seconds = -1, 0.0  # the very first batch also allocates memory, and so is not measured

    def batch(self, seconds: float) -> float | None:
        """Take note of a batch that took so long; return the seconds that all `batches` take, evaluations included, or None
        where that is not known yet, or was answered before.
        """
        self._count += 1
        if self._count == 0 or self.batches == 0:
            return None
        self._seconds += seconds
        if self._count < BATCHES or self._seconds < SECONDS:
            return None
        total = self._seconds / self._count * self.batches * (1 + FORWARD * self.judged)
        self.batches = 0
        return total
