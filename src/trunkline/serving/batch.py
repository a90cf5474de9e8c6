"""A batch of texts of many requests through the passes of a plan: each pass once, each branch on the texts that ask for it."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from trunkline.branches import BranchGroup
from trunkline.data.corpus import Corpus
from trunkline.data.table import Table
from trunkline.inputs.batching import token_batches
from trunkline.inputs.cutting import Cut, join
from trunkline.inputs.encoded import Encoded
from trunkline.model.apply import Cohort, collect_cohorts, frozen_group
from trunkline.model.plan import PlannedPass
from trunkline.serving.lower import KeepingStates, KeptStates
from trunkline.serving.text_group import Place, TextGroup
from trunkline.states.live import Feed, LiveStates

MANY_WORDS = 1024  # of one text
GROUPS = 16  # of branches that not every text of a batch asks for, kept stacked for the next batch


@dataclass(frozen=True)
class Finished:
    """The logits of some branches for some texts of a batch, to be decoded."""

    names: tuple[str, ...]
    planned: PlannedPass
    texts: list[Place]
    corpus: Corpus
    logits: Mapping[str, np.ndarray]
    offsets: Mapping[str, np.ndarray | None]

    @property
    def slow(self) -> bool:
        """Whether decoding may take long: a chain of tags is decoded word by word."""
        return any(own is not None and bool((np.diff(own) > MANY_WORDS).any()) for own in self.offsets.values())


@dataclass
class Measured:
    """What a batch took: sequences, `tokens` of them, `padded` ones computed; seconds of the passes with all branches."""

    texts: int = 0
    tokens: int = 0
    padded: int = 0
    seconds: float = 0.0


class Groups:
    """Stacked weights of the subsets of a pass's branches that were asked for last; of one thread."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, tuple[str, ...]], tuple[PlannedPass, BranchGroup]] = OrderedDict()

    def of(self, planned: PlannedPass, names: tuple[str, ...]) -> BranchGroup:
        if len(names) == len(planned.branches):
            return planned.group
        key = id(planned), names
        if key not in self._kept:
            modules = {name: planned.branches[name].module for name in names}
            self._kept[key] = planned, frozen_group(modules, planned.precision)  # holds the pass, whose id is the key
            while len(self._kept) > GROUPS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key][1]


def run_batch(texts: Sequence[Place], groups: Groups, batch_tokens: int) -> tuple[list[Finished], Measured]:
    """Compute the logits of every branch that the texts ask for.

    Frozen passes run first: a pass that changes only upper blocks of the same trunk begins above them, on the states that they
    have computed.

    Args:
        texts: of one plan.
        groups: of the calling thread.
        batch_tokens: padded tokens of a pass, at most.
    """
    began, measured, finished = time.perf_counter(), Measured(len(texts)), []
    made = (_Run.of(texts, planned) for planned in texts[0].job.plan.passes)
    runs = sorted((run for run in made if run is not None), key=lambda run: run.planned.source.trunk is not None)
    kept: dict[_Run, tuple[KeepingStates, _Run]] = {}  # by the pass that begins above: the states, and of what
    for run in runs:
        states: Feed = run.planned.source.states(run.planned.trunk, run.encoded, run.above(*kept.get(run, (None, None))))
        for other in runs:
            if other not in kept and (layer := other.begins_above(run)) is not None:
                states = KeepingStates(states, layer, run.shares(other))
                kept[other] = states, run
        owners, cohorts = run.cohorts(groups)
        logits = collect_cohorts(
            cohorts,
            states,
            precision=run.planned.precision,
            device=torch.device(run.planned.trunk.device),
            batch_tokens=batch_tokens,
        )
        measured.tokens += len(run.encoded.ids)
        lengths = run.encoded.lengths
        measured.padded += sum(int(lengths[some].max()) * len(some) for some in token_batches(lengths, tokens=batch_tokens))
        finished += [block.finished(names, found) for (block, names), found in zip(owners, logits, strict=True)]
    measured.seconds = time.perf_counter() - began
    return finished, measured


@dataclass(frozen=True, eq=False)
class _Run:
    """A pass over those texts of a batch that need it; `encoded` are the sequences of its blocks, one after the other."""

    planned: PlannedPass
    blocks: list[_Block]
    encoded: Encoded

    @classmethod
    def of(cls, texts: Sequence[Place], planned: PlannedPass) -> _Run | None:
        """None where no text needs the pass."""
        blocks = _blocks(texts, planned)
        if not blocks:
            return None
        bare = [replace(block.encoded, unit_rows=None, unit_offsets=None, cut=None) for block in blocks]
        return cls(planned, blocks, bare[0] if len(bare) == 1 else join(bare))

    def cohorts(self, groups: Groups) -> tuple[list[tuple[_Block, tuple[str, ...]]], list[Cohort]]:
        """Cohorts, and which branches of which block each is."""
        owners, cohorts, first = [], [], 0
        for block in self.blocks:
            end = first + len(block.encoded.lengths)
            for names, read in block.readings():
                tasks = {name: self.planned.branches[name].task for name in names}
                cohorts.append(Cohort(groups.of(self.planned, names), tasks, read, np.arange(first, end)))
                owners.append((block, names))
            first = end
        return owners, cohorts

    def begins_above(self, frozen: _Run) -> int | None:
        """The layer of `frozen` that this pass can begin above; None if there is none."""
        own, trunk = self.planned.source, frozen.planned.trunk
        if own.trunk is None or frozen.planned.source.trunk is not None or trunk.compiled is not None:
            return None
        alike = own.trunk.fingerprint == trunk.fingerprint and own.stored_dtype(own.trunk) == trunk.precision
        return next(iter(own.stored(self.planned.group.wanted())), None) if alike else None

    def shares(self, other: _Run) -> np.ndarray:
        """bool (S,): which of its sequences `other` reads too."""
        return np.array([key in other.sequences for key in self.sequences])

    def above(self, keeping: KeepingStates | None, frozen: _Run | None) -> Feed | None:
        """What the pass begins with, where another pass has kept it."""
        if keeping is None or frozen is None:
            return None
        own = np.array([frozen.sequences.get(key, -1) for key in self.sequences])
        return KeptStates(keeping, own, LiveStates(frozen.planned.trunk, self.encoded))

    @cached_property
    def sequences(self) -> dict[Hashable, int]:
        """By text, the way in which it was cut, and number among its own: which sequence it is."""
        found: dict[Hashable, int] = {}
        for block in self.blocks:
            numbers = block.encoded.text_of
            of_text = np.arange(len(numbers)) - np.searchsorted(numbers, numbers)
            for text, number in zip(numbers.tolist(), of_text.tolist(), strict=True):
                found[block.texts[text], block.cuts[text], number] = len(found)
        return found


@dataclass(eq=False)
class _Block:
    """Texts of a batch that ask the same branches of a pass, read in the same way."""

    planned: PlannedPass
    names: tuple[str, ...]
    windows: bool
    texts: list[Place] = field(default_factory=list)
    encoded: Encoded = field(init=False)

    @property
    def cuts(self) -> list[Cut]:
        """How each of its texts is cut."""
        return [next(cut for one, cut, _ in text.text_group.passes if one is self.planned) for text in self.texts]

    def readings(self) -> list[tuple[tuple[str, ...], Encoded]]:
        """The branches that read the sequences alike, and how: for those that were trained on texts as they are cut, and are to
        read all windows here, each window is a text.
        """
        if not self.windows:
            return [(self.names, self.encoded)]
        usual = {name: self.planned.branches[name].task.answers.whole for name in self.names}
        whole, cut = (tuple(name for name in self.names if usual[name] is own) for own in (True, False))
        found = [(whole, self.encoded)] if whole else []
        if cut:
            every = self.encoded.select(np.arange(len(self.encoded.lengths)))
            found.append((cut, every))
        return found

    def finished(self, names: tuple[str, ...], logits: Mapping[str, np.ndarray]) -> Finished:
        tasks = {name: self.planned.branches[name].task for name in names}
        if self.windows and not next(iter(tasks.values())).answers.whole:
            logits = {name: _averaged(found, self.encoded) for name, found in logits.items()}
            offsets: dict[str, np.ndarray | None] = dict.fromkeys(names)
        else:
            offsets = {name: task.answers(self.encoded).offsets for name, task in tasks.items()}
        return Finished(names, self.planned, self.texts, _corpus_of(self.texts), logits, offsets)


def _blocks(texts: Sequence[Place], planned: PlannedPass) -> list[_Block]:
    blocks: dict[tuple[tuple[str, ...], bool], _Block] = {}
    for text in texts:
        for one, _, names in text.text_group.passes:
            if one is planned:
                windows = text.text_group.windows
                blocks.setdefault((names, windows), _Block(planned, names, windows)).texts.append(text)
    for block in blocks.values():
        by_group: dict[TextGroup, list[Place]] = {}
        for text in block.texts:
            by_group.setdefault(text.text_group, []).append(text)
        block.texts = [text for some in by_group.values() for text in some]
        parts = [text_group.encoded[planned].of_texts([text.row for text in some]) for text_group, some in by_group.items()]
        block.encoded = parts[0] if len(parts) == 1 else join(parts)
    return list(blocks.values())


def _averaged(logits: np.ndarray, encoded: Encoded) -> np.ndarray:
    """The mean of the logits (windows, C) of each text, weighted by the tokens of the windows: (texts, C)."""
    weights = encoded.lengths.astype(np.float64)
    total = np.zeros((encoded.n_texts, logits.shape[1]))
    np.add.at(total, encoded.text_of, logits * weights[:, None])
    return (total / np.bincount(encoded.text_of, weights)[:, None]).astype(np.float32)


def _corpus_of(texts: Sequence[Place]) -> Corpus:
    """The texts, as tasks present them: with their words."""
    read = [text.text_group.corpus.texts[text.row] for text in texts]
    units = None
    if all(text.text_group.corpus.units is not None for text in texts):
        units = [(text.text_group.corpus.units or [])[text.row] for text in texts]
    return Corpus(Table("texts", {"text": read}), read, None, units)


def present(finished: Finished, name: str) -> list[dict[str, Any]]:
    """The prediction of a branch for each text of `finished`."""
    branch = finished.planned.branches[name]
    return branch.task.present(branch.decode(finished.logits[name], finished.offsets[name]), finished.corpus)
