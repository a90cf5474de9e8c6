"""The tag that each word most often has in the training rows, for tasks that tag words: what is right without any context.

A word that was not seen has the tag that is most frequent of all. Whether it is looked up in lower case first is chosen on
validation. Tags that no span can have in their place are read as conlleval does (tasks/spans.py).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from functools import partial

import numpy as np

from trunkline.inputs.encoded import offsets_of
from trunkline.studies.floors.base import Floor, Measured, Subject, better, floors, scored
from trunkline.tasks import Decoded, Task
from trunkline.tasks.span_column import units_of
from trunkline.tasks.spans import repair
from trunkline.training.prepare import Prepared, Split


@floors.register("word_tags")
class WordTags(Floor):
    """The most frequent tag of each word; of equally frequent ones the first of the task's tags."""

    name = "word_tags"

    @staticmethod
    def title(task: Task) -> str:
        return "most frequent tag per word"

    @staticmethod
    def unsuited(group: Prepared, task: Task) -> str | None:
        return None if task.answers.level == "unit" else "there is one answer for a whole text"

    @staticmethod
    def measure(subject: Subject) -> Measured:
        targets, words = subject.targets("train"), _words(subject.train)
        seen = [(word, tag) for word, tag, there in zip(words, targets.values.tolist(), targets.present, strict=True) if there]
        usual, lower = _most_frequent(seen), _most_frequent((word.lower(), tag) for word, tag in seen)
        rest = _most_frequent(("", tag) for _, tag in seen)[""]

        def tagged(fallback: Mapping[str, int], split: Split) -> Decoded:
            found = [usual.get(word, fallback.get(word.lower(), rest)) for word in _words(split)]
            offsets = offsets_of(np.array([len(own) for own in units_of(split.corpus)], np.int64))
            return Decoded(repair(np.array(found, np.int64), offsets), np.ones(len(found)), offsets)

        plain, lowered = (
            Measured(*scored(subject, partial(tagged, fallback)), len(usual) + len(fallback) + 1, {"unseen words": said})
            for fallback, said in (({}, "as they are"), (lower, "in lower case"))
        )
        task, values = subject.task, [one.metrics["validation"].get(subject.task.monitor) for one in (lowered, plain)]
        return lowered if better(task, *values) else plain


def _words(split: Split) -> list[str]:
    """The words of all texts, end to end."""
    texts = zip(split.corpus.texts, units_of(split.corpus), strict=True)
    return [text[start:end] for text, own in texts for start, end in own]


def _most_frequent(seen: Iterable[tuple[str, int]]) -> dict[str, int]:
    """By word, the tag that it has most often."""
    counts: dict[str, Counter[int]] = defaultdict(Counter)
    for word, tag in seen:
        counts[word][tag] += 1
    return {word: min(count, key=lambda tag: (-count[tag], tag)) for word, count in counts.items()}
