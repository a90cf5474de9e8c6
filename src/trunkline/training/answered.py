"""What the branch of a task says of its test split, and what is right there, kept in a run's directory.

Two runs of one task are compared by what each gets right of the same rows, and that cannot be told from their scores. A file
holds numbers of labels or tags, or numbers; no text. In `answers/TASK.safetensors`, with the names of `Answers`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from trunkline.errors import FIT_AGAIN, BadInput
from trunkline.files import atomic_file, check_regular
from trunkline.tasks import Decoded, Targets, Task

FOLDER, SUFFIX = "answers", ".safetensors"
_ABOUT = "trunkline.task"  # key of the metadata


@dataclass(frozen=True)
class KeptAnswers:
    """Answers of one task on rows, laid out as `Targets` and `Decoded` are.

    Attributes:
        kind: of the task.
        metric: that the task goes by.
        labels: in the order of their numbers; of a token task, the types of entities. None for numbers.
        positive: the label that "precision", "recall" and "f1" are about, where one is.
        unseen: names of labels that only the test split has, whose numbers follow those of `labels`.
        true, predicted: what is right, and what was said.
        present: bool, whether a row has a label.
        offsets: of a token task, (texts + 1,): the units of text t are offsets[t]:offsets[t + 1].
        scores: probabilities of labels, where the kind has several for a text; None otherwise.
    """

    kind: str
    metric: str
    labels: list[str] | None
    positive: str | None
    unseen: list[str]
    true: np.ndarray
    predicted: np.ndarray
    present: np.ndarray
    offsets: np.ndarray | None = None
    scores: np.ndarray | None = None

    @classmethod
    def of(cls, task: Task, decoded: Decoded, targets: Targets) -> KeptAnswers:
        labels = task.own_labels or None
        several = decoded.scores if task.kind == "multilabel" else None
        return cls(
            task.kind, task.monitor, labels, task.positive, list(targets.unseen),
            targets.values, decoded.values, targets.present, targets.offsets, several,
        )  # fmt: skip

    def same_rows(self, other: KeptAnswers) -> bool:
        """Whether both are about the same rows with the same labels, so that they can be compared row by row."""
        if (self.kind, self.labels, self.unseen) != (other.kind, other.labels, other.unseen):
            return False
        if (self.offsets is None) != (other.offsets is None):
            return False
        pairs = [(self.true, other.true), (self.present, other.present)]
        if self.offsets is not None and other.offsets is not None:
            pairs.append((self.offsets, other.offsets))
        return all(np.array_equal(one, another) for one, another in pairs)


def save_answers(run: Path, name: str, answers: KeptAnswers) -> None:
    """Keep the answers of a task in the directory of a run."""
    arrays = {key: getattr(answers, key) for key in ("true", "predicted", "present", "offsets", "scores")}
    about = {key: getattr(answers, key) for key in ("kind", "metric", "labels", "positive", "unseen")}
    with atomic_file(run / FOLDER / f"{name}{SUFFIX}") as temporary:
        kept = {key: np.ascontiguousarray(value) for key, value in arrays.items() if value is not None}
        save_file(kept, temporary, metadata={_ABOUT: json.dumps(about)})


def load_answers(run: Path, name: str) -> KeptAnswers:
    """The answers of a task, as a run has kept them.

    Raises:
        BadInput: there are none (an earlier version trained it, or it has no test split), or the file cannot be read.
    """
    file = run / FOLDER / f"{name}{SUFFIX}"
    if not file.is_file():
        problem = f"{file}: no such file"
        raise BadInput(problem, expected="the answers of a run with a test split", remedy="restore it", option=FIT_AGAIN)
    check_regular(file)
    try:
        with safe_open(file, "np") as opened:
            arrays: dict[str, Any] = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 - no dict
            return KeptAnswers(**json.loads(opened.metadata()[_ABOUT]), **arrays)
    except Exception as error:  # safetensors has error classes of its own for each kind of damage
        raise BadInput(f"{file}: cannot be read as the answers of a run ({type(error).__name__})") from None
