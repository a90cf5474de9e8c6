"""What branches say as one pass of a model ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trunkline.errors import unknown_name
from trunkline.model.attached.answers import answers_of, labels_of
from trunkline.model.attached.seen import Logits, Seen
from trunkline.model.branch import Branch


class Step:
    """What the branches say as one pass of the model ends: of a generation, about all tokens so far.

    Attributes:
        number (int): of the pass within the block, from 0.
        start (int): the column of its first new token.
        ids (np.ndarray | None): int64 (B, t), the new tokens; None where the model was given embeddings.
    """

    def __init__(self, branches: Mapping[str, Branch], seen: Seen, number: int, start: int, count: int) -> None:
        self.number, self.start = number, start
        self.ids = None if seen.ids is None else seen.ids[:, start : start + count].copy()
        self._branches, self._seen = branches, _Frozen(seen)
        self._logits: Logits = {name: logits for name, logits in seen.logits().items() if name in branches}

    def __getitem__(self, name: str) -> list[Any]:
        """The answers of a branch, one for each of the B texts: as of `Bundle.predict` about all tokens so far; of a branch
        that tags words, the labels of the new tokens. BadInput for a name that no branch of this pass has.
        """
        if name not in self._branches:
            raise unknown_name("branch", name, self._branches, whole=True)
        branch, logits = self._branches[name], self._logits[name]
        if branch.task.answers.units:
            return labels_of(branch, self._seen, logits, self.start)
        return answers_of(branch, self._seen, logits, None)

    def __iter__(self) -> Iterator[str]:
        """The names of the branches that read the pass."""
        return iter(self._branches)


class _Frozen(Seen):
    """What had been seen when a step was made."""

    def __init__(self, seen: Seen) -> None:
        self.ids, self.real = seen.ids, seen.real  # replaced, never written into, by what comes later
