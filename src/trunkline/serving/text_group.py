"""Texts of several requests, tokenised together."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from trunkline.data.corpus import Corpus, segment
from trunkline.data.table import Table
from trunkline.inputs.cutting import Cut
from trunkline.inputs.encoded import Encoded
from trunkline.model.arguments import OfTexts
from trunkline.model.plan import PlannedPass
from trunkline.serving.request import Job
from trunkline.serving.waiting import Text

CHARACTERS = 1 << 18  # of texts that are tokenised together

Reading = tuple[PlannedPass, Cut, tuple[str, ...]]  # a pass, how it cuts texts, and the branches that answer from it


@dataclass(frozen=True, eq=False)
class TextGroup:
    """Texts of one or more requests that need the same passes, cut in the same way.

    encoded (Mapping[PlannedPass, Encoded]): all texts as each pass reads them.
    """

    passes: Sequence[Reading]
    windows: bool
    corpus: Corpus
    encoded: Mapping[PlannedPass, Encoded]


@dataclass(frozen=True, eq=False)
class Place:
    """A text of a request: its number there, and where it lies in a group of texts."""

    job: Job
    number: int
    text_group: TextGroup
    row: int


@dataclass(eq=False)
class Part:
    """Texts that are about to be tokenised together: each is a number of a request's text."""

    passes: Sequence[Reading]
    pairs: bool
    windows: bool
    rows: list[tuple[Job, int]] = field(default_factory=list)
    characters: int = 0

    def tokenised(self) -> list[Text[Place]]:
        """Tokenise them; each as a text that can be put into a batch."""
        units = any(one.branches[name].task.answers.units for one, _, names in self.passes for name in names)
        texts = [job.asked.texts[number] for job, number in self.rows]
        pairs = [(job.asked.pairs or [])[number] for job, number in self.rows] if self.pairs else None
        spans = [_spans(job, number) for job, number in self.rows] if units else None
        corpus = Corpus(Table("texts", {"text": texts}), texts, pairs, spans)
        trunk = self.passes[0][0].trunk
        made = trunk.encode_each(texts, [cut for _, cut, _ in self.passes], pairs=pairs, units=spans)
        text_group = TextGroup(
            self.passes, self.windows, corpus, {one[0]: own for one, own in zip(self.passes, made, strict=True)}
        )
        tokens, longest = np.zeros(len(texts), np.int64), np.zeros(len(texts), np.int64)
        longer, words = np.zeros(len(texts), bool), np.zeros(len(texts), np.int64)
        for encoded in made:
            tokens += np.bincount(encoded.text_of, encoded.lengths, len(texts)).astype(np.int64)
            longest = np.maximum(longest, np.maximum.reduceat(encoded.lengths, encoded.first_sequence()))
            longer |= encoded.longer
            if encoded.unit_offsets is not None:
                words = np.maximum(words, np.diff(encoded.unit_offsets))
        long = [(job, number) for row, (job, number) in enumerate(self.rows) if longer[row]]
        for job, number in long:  # before anything is counted, as the rest is tokenised again then
            if job.request.long_texts == "refuse":
                raise TooLong(job, number, min(cut.max_length for _, cut, _ in self.passes))
        for job, number in long:
            job.long_texts.add(number)
        found = []
        for row, (job, number) in enumerate(self.rows):
            job.tokens += int(tokens[row])
            job.steps += int(max(tokens[row], words[row]))
            job.untokenised -= 1
            place = Place(job, number, text_group, row)
            found.append(Text(place, int(longest[row]), int(tokens[row]), kind=id(job.plan)))
        return found


class TooLong(OfTexts):
    """A text of a request is longer than a branch reads, and is to be refused then."""

    def __init__(self, job: Job, number: int, most: int) -> None:
        super().__init__(
            "texts",
            number,
            found=f"more than {most} tokens, which is what a task reads at once",
            expected="a shorter text, or long_texts cut or windows",
        )
        self.job = job

    def other_way(self, way: str) -> TooLong:
        """The same, where something else lets long texts be cut."""
        told = copy.copy(self)
        told.expected = f"a shorter text, or {way}"
        return told


def parts(jobs: Iterable[Job], characters: Callable[[Job, int], int]) -> Iterator[Part]:
    """Divide the texts of requests into parts that can be tokenised together, each of about CHARACTERS.

    It counts in `Job.untokenised` and `Job.remaining` how many of them each request has.
    """
    open_parts: dict[Hashable, Part] = {}
    full: list[Part] = []
    for job in jobs:
        windows = job.request.long_texts == "windows"
        by_pairs: dict[bool, list[Reading]] = {}
        for reading in job.passes():
            by_pairs.setdefault(reading[0].pairs, []).append(reading)
        for pairs, passes in by_pairs.items():
            key = tuple((id(one), cut, names) for one, cut, names in passes), windows
            for number in range(len(job.asked.texts)):
                if number in job.asked.empty[pairs]:
                    continue
                part = open_parts.get(key)
                if part is None or part.characters > CHARACTERS:
                    part = open_parts[key] = Part(passes, pairs, windows)
                    full.append(part)
                part.rows.append((job, number))
                part.characters += characters(job, number)
                job.untokenised += 1
                job.remaining += 1
    yield from full


def _spans(job: Job, number: int) -> list[tuple[int, int]]:
    return segment(job.asked.texts[number]) if job.asked.units is None else job.asked.units[number]
