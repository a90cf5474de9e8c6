"""The same answer for every text, the one that suits the training rows best: what is right without reading a word."""

from __future__ import annotations

from trunkline.studies.floors.base import Floor, Measured, Subject, floors, scored
from trunkline.tasks import Decoded, Task
from trunkline.training.prepare import Prepared, Split

TITLES = {"sequence": "majority class", "multilabel": "best constant labels", "regression": "mean"}


@floors.register("majority")
class Majority(Floor):
    """`Task.baseline`: the most frequent label, the labels that together score best, or the mean."""

    name = "majority"

    @staticmethod
    def title(task: Task) -> str:
        return TITLES.get(task.kind, "constant")

    @staticmethod
    def unsuited(group: Prepared, task: Task) -> str | None:
        return "its counterpart for words is the most frequent tag of each" if task.answers.level == "unit" else None

    @staticmethod
    def measure(subject: Subject) -> Measured:
        def answer(split: Split) -> Decoded:
            decoded = subject.task.baseline(split.corpus)
            assert decoded is not None, "a task that was learned from a corpus has one"
            return decoded

        return Measured(*scored(subject, answer), parameters=1)
