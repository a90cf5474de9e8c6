"""Scores of settled branches on held-out data: thresholds and temperatures on validation, then, once, the test split."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

from trunkline.model.decision import decode
from trunkline.model.part import Part
from trunkline.model.source import Source
from trunkline.training.answered import KeptAnswers
from trunkline.training.decision import fit_decision, with_calibration
from trunkline.training.loop import Loop
from trunkline.training.prepare import Prepared
from trunkline.training.sampling import SplitFeed
from trunkline.trunk.load import Trunk


@dataclass
class Judged:
    """A part with its decision, and what was found of it.

    Attributes:
        part: with its decision, if that was fitted.
        metrics: by split.
        tuned: what was chosen of thresholds on validation; empty where nothing was.
        answers: what it says of the test split, and what is right there; None without such a split.
    """

    part: Part
    metrics: dict[str, dict[str, Any]]
    tuned: dict[str, Any]
    answers: KeptAnswers | None = None


def judge(
    parts: Mapping[str, Part],
    groups: Sequence[Prepared],
    fresh: Collection[str],
    trunk: Trunk,
    source: Source,
    loop: Loop,
) -> dict[str, Judged]:
    """Judge the best weights of parts on validation and, once, on test. They are put into evaluation mode.

    Args:
        parts: by name in the loop. Several may be about one task; all that read the same texts read them in one pass.
        groups: where the splits of their tasks are.
        fresh: the names of those whose decisions are fitted, on validation; others have theirs.
        trunk, source: what is read.
        loop: that trained them.
    """
    judged = {name: Judged(part, {}, {}) for name, part in parts.items()}
    for module in (source, *(module for part in parts.values() for module in (part.branch, part.criterion))):
        module.eval()
    for group, split_name in [(group, name) for name in ("validation", "test") for group in groups if name in group.splits]:
        split, own = group.splits[split_name], {name: one for name, one in judged.items() if one.part.task.name in group.tasks}
        if not own:
            continue
        assert split.encoded is not None
        supervision = split.supervision({name: one.part.task for name, one in own.items()})
        validating = split_name == "validation"
        known = None  # the test texts are read once, so storing would not pay
        if validating:
            known = next(texts.validation for texts in loop.sources if texts.validation.supervision.keys() & own)
        feed = source.judged(trunk, split.encoded, None if known is None else known.feed)
        read = SplitFeed(feed, supervision)
        if known is not None and feed is known.feed:
            read = replace(known, supervision=supervision)
        with source.watch() if validating else nullcontext():
            logits = loop.logits({name: one.part for name, one in own.items()}, read, split_name)
        for name, one in own.items():
            asked = logits[name], supervision[name].answers.offsets, supervision[name].targets
            if validating and name in fresh:
                decision, one.tuned = fit_decision(one.part, *asked)
                one.part = replace(one.part, decision=decision)
            one.metrics[split_name] = supervision[name].judge(one.part, logits[name])
            one.part = replace(one.part, decision=with_calibration(one.part, split_name, *asked))
            if not validating:
                decoded = decode(one.part.criterion, one.part.decision, logits[name], supervision[name].answers.offsets)
                one.answers = KeptAnswers.of(one.part.task, decoded, supervision[name].targets)
    return judged
