"""What the outputs of a task take: memory for logits and for a CRF, and a CRF's time, estimated before any of it is used."""

from __future__ import annotations

from dataclasses import dataclass

from trunkline.tasks import Targets, Task

LARGE_BYTES, LONG_SECONDS = 2e9, 1800.0  # from here on a run says so
# Copies of a split's logits while it is judged, as float32: without a CRF, and with one, which computes in float64.
LOGIT_COPIES = {False: 3, True: 6}
# Bytes for each pair of tags: the transition with its gradient and Adam's two moments in float32, the rule as a byte, exp of
# the transition before and after the rule and the counted pairs in float64 and int64.
PAIR_BYTES = 4 * 4 + 1 + 8 + 8 + 8 + 8
PAIRS_A_SECOND = 1e9  # of a core that runs through all pairs of tags for a word: at this size memory is the limit


@dataclass(frozen=True)
class Demand:
    """Bytes needed at once, and the seconds of a CRF in an epoch (0 without one)."""

    bytes: float
    seconds: float = 0.0

    def sentence(self, task: Task) -> str:
        """What a run says of it, without how it opens and ends."""
        time = f", and its CRF about {self.seconds / 3600:,.1f} hours an epoch" if self.seconds >= LONG_SECONDS else ""
        return f"the {task.outputs:,} outputs of {task.name!r} need about {self.bytes / 1e9:,.1f} GB at once{time}"

    @property
    def large(self) -> bool:
        return self.bytes >= LARGE_BYTES or self.seconds >= LONG_SECONDS


def demand(task: Task, splits: dict[str, Targets]) -> Demand:
    """Estimate what `task` takes with the targets of these splits; "train" is not judged."""
    rows = {name: len(targets.values) for name, targets in splits.items()}
    judged = max((count for name, count in rows.items() if name != "train"), default=0)
    crf = bool(getattr(task.config, "crf", False))
    logits = 4.0 * LOGIT_COPIES[crf] * judged * task.outputs
    pairs = float(task.outputs) ** 2 if crf else 0.0
    words = rows.get("train", 0) + rows.get("validation", 0)
    return Demand(logits + PAIR_BYTES * pairs, words * pairs / PAIRS_A_SECOND)
