"""What a column is that the user has named as one of labels, whatever it looks like."""

from __future__ import annotations

import json
from dataclasses import replace

from trunkline.data.guess.columns import Made, are_dates, one_column
from trunkline.data.guess.decision import NAMED, Decision
from trunkline.data.guess.looks import Look
from trunkline.data.guess.names import task_name
from trunkline.errors import BadInput


def named_column(look: Look, text: str | None) -> Made:
    """Decide about a column that was named: the decision, which says so where its values suggest otherwise, and the task.

    Raises:
        BadInput: values that are neither labels nor numbers before they are changed: dates, amounts of money, numbers with
            some that are none; it says what to do.
    """
    decision, task = one_column(look, text)
    if task is not None:
        return decision, task
    dates = are_dates(look)
    if dates or look.broken or look.trouble or not look.n:
        does = ""
        if dates:
            does = "; expected labels or numbers, such as the month or the number of days"
        given = json.dumps({task_name(look.name, ()): {"kind": "sequence", "label": look.name}}, ensure_ascii=False)
        as_classes = f"; to predict each value as a class, give tasks={given}"
        as_classes = as_classes if look.n and not look.lists else ""
        raise BadInput(f"{look.table.source}: {replace(decision, listable=True).sentence.rstrip('.')}{does}{as_classes}")
    kind, key = "sequence", "label"
    if look.lists:
        kind, key = "multilabel", "labels"
    elif look.numbers is not None and look.distinct > max(2, look.n / 2):  # each but once or twice: nothing to learn as a class
        kind, key = "regression", "target"
    why = f"{NAMED}, though {decision.why}{look.missing}"
    return Decision(look.name, kind, why), {"kind": kind, key: look.name}
