"""Which scores of a study have no value and which no interval, and why: a sentence for each reason, with its methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from trunkline.errors import listed
from trunkline.studies.outcomes import Outcome, Repeat
from trunkline.studies.statistics import Answers
from trunkline.studies.statistics.undefined import GENERAL, why_undefined


def unscored(
    every: Sequence[Outcome], cells: Sequence[Mapping[str, Any]], answers: Callable[[Repeat, str], Answers]
) -> list[str]:
    """Return what is to be said, in the order of the cells.

    Args:
        every: the methods in their places.
        cells: what was found of each, as in results.json.
        answers: reads what a run answered to the test rows of a task.
    """
    said: dict[tuple[str, str, str], dict[str, None]] = {}
    methods: dict[str, set[str]] = {}
    for one, cell in zip(every, cells, strict=True):
        for task, found in cell["tasks"].items():
            methods.setdefault(task, set()).add(one.cell.method)
            for what, why in _reasons(found, [partial(answers, repeat, task) for repeat in one.repeats]):
                said.setdefault((task, what, why), {})[one.cell.method] = None
    sentences = []
    for (task, what, why), named in said.items():
        names = listed(list(named), quoted=False, whole=True)
        if what:
            metric, _, where = what.partition(" ")
            sentences.append(f"{task}: {metric} of {names} has no value {where}, as {why}")
        else:
            sentences.append(f"{task}: {why}" if named.keys() == methods[task] else f"{task}, {names}: {why}")
    return sentences


def _reasons(found: Mapping[str, Any], runs: Sequence[Callable[[], Answers]]) -> Iterator[tuple[str, str]]:
    """Of a cell's task: what has no value, and why; "" where it is an interval that there is none of."""
    if found["test"] is None:
        for run in runs:
            answered = run()
            if why := why_undefined(answered):
                yield f"{answered.metric} on test", why
                return
    elif found["validation"] is None and runs:
        metric = runs[0]().metric
        yield f"{metric} on validation", GENERAL.get(metric, "there is no row to compute it from")
    if found["no_interval"] and found["test"] is not None:
        yield "", found["no_interval"]
