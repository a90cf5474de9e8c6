"""Texts that a program gives run through the passes of a plan, a portion at a time: what is made of a text takes many times its
own memory.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from trunkline.data.corpus import Corpus, segment
from trunkline.data.table import Table
from trunkline.errors import listed
from trunkline.inputs.audio import AudioProcessor
from trunkline.model.apply import collect_logits
from trunkline.model.arguments import Asked
from trunkline.model.branch import Branch
from trunkline.model.plan import Plan, PlannedPass
from trunkline.tasks import Targets

CHUNK_CHARACTERS = 1 << 20  # of texts that are predicted at a time


@dataclass(frozen=True)
class Portion:
    """Some texts as the branches of a plan read them.

    rows (Mapping[bool, list[int]]): by whether second texts are read too, the texts (from 0) that are not skipped.
    corpora (Mapping[bool, Corpus]): likewise, those texts.
    """

    rows: Mapping[bool, list[int]]
    corpora: Mapping[bool, Corpus]


@dataclass(frozen=True)
class Answered:
    """What a branch gave for a portion: `rows` as of the portion, the `logits` of the texts in `corpus`, and their `offsets` at
    unit level.
    """

    branch: Branch
    rows: list[int]
    corpus: Corpus
    logits: np.ndarray
    offsets: np.ndarray | None


def portions(plan: Plan, given: Asked) -> Iterator[Portion]:
    """What was asked, in portions of about CHUNK_CHARACTERS."""
    for part in _parts(plan, given.texts, given.pairs):
        yield portion(plan, given, part)


def portion(plan: Plan, given: Asked, part: range, source: str = "texts") -> Portion:
    """Some of the texts that were asked about; messages call them `source`."""
    rows, corpora = {}, {}
    for pairs in sorted({one.pairs for one in plan.passes}):
        rows[pairs] = [row for row in part if row not in given.empty[pairs]]
        corpora[pairs] = _corpus(plan, given, rows[pairs], source)
    return Portion(rows, corpora)


def answered(
    plan: Plan,
    asked: Portion,
    progress: Callable[[int], None] | None = None,
    stored: str | None = None,
    cut: Counter[str] | None = None,
) -> dict[str, Answered]:
    """Run every pass of a plan, but for those that have nothing to read; by the name of the branch.

    Args:
        plan, asked: what runs, and what it reads.
        progress: called with the number of sequences done after each batch.
        stored: the dtype of states stores that may hold the states.
        cut: counts audio clips that are longer than a branch reads, for `clips_cut`; None: a warning says it.
    """
    found: dict[str, Answered] = {}
    passes = [one for one in plan.passes if len(asked.corpora[one.pairs])]
    for one, encoded in zip(passes, plan.encode(asked.corpora), strict=True):
        if encoded.clips is not None and encoded.truncated:
            told = Counter[str]() if cut is None else cut
            told[_as_cut(one)] += encoded.truncated
            for sentence in clips_cut(told) if cut is None else ():
                warnings.warn(sentence, stacklevel=4)
        logits = collect_logits(
            {name: (branch.task, branch.module) for name, branch in one.branches.items()},
            one.states(encoded, stored),
            encoded,
            precision=one.precision,
            device=torch.device(one.trunk.device),
            progress=progress,
            group=one.group,
        )
        for name, branch in one.branches.items():
            offsets = branch.task.answers(encoded).offsets
            found[name] = Answered(branch, asked.rows[one.pairs], asked.corpora[one.pairs], logits[name], offsets)
    return found


def _as_cut(one: PlannedPass) -> str:
    """What is said of clips that are longer than the branches of a pass read."""
    assert isinstance(one.trunk.processor, AudioProcessor)
    seconds, names = one.trunk.processor.seconds(one.cut.max_length), listed(list(one.branches), 8, quoted=False, whole=True)
    return f"longer than the {seconds:.4g} s that {names} reads, and cut at the end"


def clips_cut(cut: Mapping[str, int]) -> list[str]:
    """A sentence each for the clips that were cut, as `answered` counts them."""
    return [f"1 clip is {what}." if count == 1 else f"{count:,} clips are {what}." for what, count in cut.items()]


def predicted(
    plan: Plan,
    given: Asked,
    progress: Callable[[int], None] | None,
    stored: str | None,
    cut: Counter[str] | None = None,
) -> list[dict[str, dict[str, Any]]]:
    """The prediction of every branch for each text; that for a text that is skipped has parts that are None."""
    answers: list[dict[str, Any]] = [
        {name: dict.fromkeys(branch.task.parts) for name, branch in plan.branches.items()} for _ in given.texts
    ]
    for some in portions(plan, given):
        for name, one in answered(plan, some, progress, stored, cut).items():
            decoded = one.branch.decode(one.logits, one.offsets)
            for row, presented in zip(one.rows, one.branch.task.present(decoded, one.corpus), strict=True):
                answers[row][name] = presented
    return answers


def probabilities(plan: Plan, given: Asked, named: Mapping[str, Branch], stored: str | None) -> dict[str, Any]:
    """The probabilities of the branches `named` for each text, as `Bundle.predict_proba` returns them for several."""
    found: dict[str, list[np.ndarray]] = {
        name: [np.full((0, task.outputs) if task.answers.units else task.outputs, np.nan, np.float32) for _ in given.texts]
        for name, task in ((name, branch.task) for name, branch in named.items())
    }
    for some in portions(plan, given):
        for name, one in answered(plan, some, None, stored).items():
            shares = one.branch.probabilities(one.logits, one.offsets)
            if shares is None:
                continue
            by_text = shares if one.offsets is None else np.split(shares, one.offsets[1:-1])
            for row, own in zip(one.rows, by_text, strict=True):
                found[name][row] = own
    return {
        name: rows if (task := named[name].task).answers.units else np.array(rows, np.float32).reshape(-1, task.outputs)
        for name, rows in found.items()
    }


def scores(
    answers: Mapping[str, Answered], targets: Mapping[str, Targets], min_confidence: float | None
) -> dict[str, dict[str, Any]]:
    """The metrics of the branches that `targets` has right answers for."""
    return {
        name: one.branch.score(one.logits, one.offsets, targets[name], min_confidence)
        for name, one in answers.items()
        if name in targets
    }


def _parts(plan: Plan, texts: list[str], pairs: list[str] | None) -> Iterator[range]:
    return row_ranges(
        plan.weight(text) + (plan.weight(pairs[row]) if pairs is not None else 0) for row, text in enumerate(texts)
    )


def row_ranges(characters: Iterable[int]) -> Iterator[range]:
    """Rows in ranges of not more than CHUNK_CHARACTERS together, or of one row each; `characters` are those of each row."""
    begin = end = total = 0
    for row, more in enumerate(characters):
        if row > begin and total + more > CHUNK_CHARACTERS:
            yield range(begin, row)
            begin, total = row, 0
        total, end = total + more, row + 1
    if begin < end:
        yield range(begin, end)


def _corpus(plan: Plan, given: Asked, rows: list[int], source: str) -> Corpus:
    texts = [given.texts[row] for row in rows]
    pairs = None if given.pairs is None else [given.pairs[row] for row in rows]
    units = None if given.units is None else [given.units[row] for row in rows]
    if units is None and plan.reads_words:
        units = [segment(text) for text in texts]
    return Corpus(Table(source, {"text": texts}, rows=[row + 1 for row in rows]), texts, pairs, units)
