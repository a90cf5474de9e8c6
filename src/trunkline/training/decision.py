"""The decision layer of a branch, fitted on its validation rows once its weights are settled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from trunkline.model.decision import Calibrated, Coverage, Decision, calibration, decode, scalable_logits
from trunkline.model.part import Part
from trunkline.tasks import Targets
from trunkline.tasks.calibration import COLDEST, HOTTEST, abstention_curve, beyond, fit_temperature

ROWS = 50  # with a label: a temperature fitted to fewer does harm more often than good (benchmarks/LOG.md, 2026-11-28)


def fit_decision(
    part: Part, logits: np.ndarray, offsets: np.ndarray | None, targets: Targets
) -> tuple[Decision | None, dict[str, Any]]:
    """Fit the temperature, then choose thresholds of the probabilities that it gives.

    Args:
        part: with the weights that are kept; its task takes the chosen threshold.
        logits, offsets: of the validation texts, as of `Criterion.decode`.
        targets: of the same texts.

    Returns:
        The decision, None for a kind without probabilities; and what was chosen of thresholds, as `Task.tune` returns it.
    """
    task, criterion = part.task, part.criterion
    if task.confidence is None:
        return None, task.tune(logits, targets)
    rows = labelled_rows(targets)
    scalable, true = scalable_logits(task, criterion, logits, offsets, targets)
    temperature = fit_temperature(scalable, true) if rows >= ROWS else None
    tuned = task.tune(logits if temperature is None else logits / np.float32(temperature), targets)
    thresholds = tuple(tuned["thresholds"]) if "thresholds" in tuned else None
    side = beyond(scalable, true) if rows >= ROWS and temperature is None else None
    decision = Decision(rows=rows, temperature=temperature, beyond=side, thresholds=thresholds)
    confidence, right = task.confidence.answers(decode(criterion, decision, logits, offsets), targets)
    curve = [Coverage(**row) for row in abstention_curve(confidence, right)] if rows >= ROWS else []
    return decision.model_copy(update={"abstention": tuple(curve)}), tuned


def labelled_rows(targets: Targets) -> int:
    """How many texts have a label."""
    if targets.offsets is None:
        return int(targets.present.sum())
    text_of = np.repeat(np.arange(len(targets.offsets) - 1), np.diff(targets.offsets))
    return len(np.unique(text_of[targets.present]))


def with_calibration(
    part: Part, split: str, logits: np.ndarray, offsets: np.ndarray | None, targets: Targets
) -> Decision | None:
    """The decision of a part, with the calibration of a split in it: without the temperature, and with it."""
    decision = part.decision
    if decision is None:
        return None
    before, after = (calibration(part.task, part.criterion, one, logits, offsets, targets) for one in (None, decision))
    return decision.model_copy(update={"calibration": {**decision.calibration, split: Calibrated(before=before, after=after)}})


_BEYOND = {
    "below": f"the best temperature is below {COLDEST:g}, as where all predictions are right,",
    "above": f"the best temperature is above {HOTTEST:g}, as where the scores say nothing about what is right,",
    None: f"no temperature from {COLDEST:g} to {HOTTEST:g} is best",
}


def decision_findings(tasks: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What to say of tasks without a temperature; `tasks` as result.json has them."""
    found = []
    for name, task in tasks.items():
        decision = task.get("decision")
        if decision is None or decision["temperature"] is not None:
            continue
        rows = decision["rows"]
        if rows < ROWS:
            why = f"it has {rows} row{'' if rows == 1 else 's'} with a label, and a temperature is fitted to at least {ROWS}"
        else:
            why = f"{_BEYOND[decision.get('beyond')]} for its {rows:,} rows"
        found.append(f"validation: the scores of {name!r} are not calibrated: {why}.")
    return found
