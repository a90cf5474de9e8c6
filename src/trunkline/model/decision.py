"""The decision layer of a branch: what its logits become in an answer, fitted on validation after training.

It holds a temperature, thresholds by label where a task has them, and how accurate the answers are at each confidence. Bundles,
evaluation and serving all decode logits through `decode`; a branch without a decision is decoded as its task does it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from trunkline.errors import BadInput, literal
from trunkline.tasks import Criterion, Decoded, Targets, Task
from trunkline.tasks.calibration import COLDEST, HOTTEST, calibration_error, coverage_at, negative_log_likelihood

Share = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)


class Calibration(_Strict):
    """Expected calibration error (tasks/calibration.py) and mean negative log-likelihood of some rows."""

    calibration_error: Share | None
    nll: Annotated[float, Field(ge=0)] | None


class Calibrated(_Strict):
    """The calibration of a split without the temperature, and with it."""

    before: Calibration
    after: Calibration


class Coverage(_Strict):
    """Of answers that are at least so confident: their share of all (`coverage`), and the share of them that is right."""

    min_confidence: Share
    coverage: Share | None
    accuracy: Share | None


class Decision(_Strict):
    """`decision` of branch.json.

    Attributes:
        rows: of validation, that it was fitted on.
        temperature: what logits are divided by; None: nothing, as none was found.
        beyond: where the best temperature lies if it is "below" or "above" those that are looked through.
        thresholds: of a multilabel task, the probability from which on each label holds, in the order of the labels; None: the
            one threshold of the task for all labels.
        calibration: by split.
        abstention: on validation; of spans for a token task.
    """

    rows: int = Field(ge=1)
    temperature: Annotated[float, Field(ge=COLDEST, le=HOTTEST)] | None
    beyond: Literal["below", "above"] | None = None
    thresholds: tuple[Annotated[float, Field(gt=0, lt=1)], ...] | None = None
    calibration: dict[str, Calibrated] = {}
    abstention: tuple[Coverage, ...] = ()

    @classmethod
    def read(cls, section: Any, task: Task) -> Decision | None:
        """Return what branch.json holds; BadInput unless it fits the task."""
        if section is None:
            return None
        made = cls.model_validate_json(json.dumps(section))
        if task.confidence is None:
            raise BadInput(
                found=f"one for a task of kind {task.kind}", expected="none, as it has no probabilities", key="decision"
            )
        given = made.thresholds
        if given is not None and (task.kind != "multilabel" or len(given) != len(task.labels)):
            raise BadInput(
                found=f"{len(given)} for a task of kind {task.kind} with {len(task.labels)} labels",
                expected="one for each label of a multilabel task",
                key="decision.thresholds",
            )
        return made


def decode(
    criterion: Criterion, decision: Decision | None, logits: np.ndarray | Tensor, offsets: np.ndarray | None = None
) -> Decoded:
    """Return predictions with calibrated scores; arguments as of `Criterion.decode`."""
    if decision is None:
        return criterion.decode(logits, offsets)
    thresholds = None if decision.thresholds is None else np.array(decision.thresholds)
    return criterion.decode(logits, offsets, temperature=decision.temperature, thresholds=thresholds)


def thresholds_of(task: Task, decision: Decision | None) -> np.ndarray | None:
    """Return from which calibrated probability on each label of a multilabel task holds, (L,); None for other kinds."""
    if task.kind != "multilabel":
        return None
    if decision is not None and decision.thresholds is not None:
        return np.array(decision.thresholds)
    return np.full(len(task.labels), task.learned.threshold)


def probabilities(
    criterion: Criterion, decision: Decision | None, logits: np.ndarray | Tensor, offsets: np.ndarray | None = None
) -> np.ndarray | None:
    """Return calibrated probabilities; arguments and shape as of `Criterion.probabilities`."""
    return criterion.probabilities(logits, offsets, temperature=None if decision is None else decision.temperature)


def score(
    task: Task,
    criterion: Criterion,
    decision: Decision | None,
    logits: np.ndarray | Tensor,
    offsets: np.ndarray | None,
    targets: Targets,
    min_confidence: float | None = None,
) -> dict[str, Any]:
    """Return the metrics of `Task.score`, and of a task with probabilities the `calibration_error` and `nll` of its answers.

    With `min_confidence` also `coverage`, the share of answers (of spans) that are at least so confident, and
    `selective_accuracy`, the share of these that are right.
    """
    decoded = decode(criterion, decision, logits, offsets)
    metrics = task.score(decoded, targets)
    if task.confidence is None:
        return metrics
    metrics |= calibration(task, criterion, decision, logits, offsets, targets, decoded).model_dump()
    if min_confidence is not None:
        found = coverage_at(*task.confidence.answers(decoded, targets), min_confidence)
        metrics |= {"coverage": found["coverage"], "selective_accuracy": found["accuracy"]}
    return metrics


def calibration(
    task: Task,
    criterion: Criterion,
    decision: Decision | None,
    logits: np.ndarray | Tensor,
    offsets: np.ndarray | None,
    targets: Targets,
    decoded: Decoded | None = None,
) -> Calibration:
    """How well the probabilities of a task that has some agree with `targets`; `decoded` as of `decode`, where it is at hand.

    Labels that the task does not have count as errors in the calibration error, and not in the likelihood.
    """
    assert task.confidence is not None
    decoded = decode(criterion, decision, logits, offsets) if decoded is None else decoded
    temperature = None if decision is None else decision.temperature
    scalable, true = scalable_logits(task, criterion, logits, offsets, targets)
    return Calibration(
        calibration_error=calibration_error(*task.confidence.probabilities(decoded, targets)),
        nll=negative_log_likelihood(scalable, true, 1.0 if temperature is None else temperature),
    )


def scalable_logits(
    task: Task, criterion: Criterion, logits: np.ndarray | Tensor, offsets: np.ndarray | None, targets: Targets
) -> tuple[np.ndarray, np.ndarray]:
    """What a temperature divides, and what is right, of all rows with a target that the task's outputs can express."""
    own = task.for_loss(targets)
    scalable = criterion.logits_to_scale(logits, offsets)
    assert scalable is not None
    return scalable[own.present], own.values[own.present]


def checked_confidence(value: Any, tasks: Iterable[Task] | None = None, where: str = "min_confidence") -> float | None:
    """Return a least confidence as a float, None where none is given; `where` opens the messages.

    Raises:
        BadInput: it is no number from 0 to 1, or none of `tasks` has probabilities.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= float(value) <= 1:
        raise BadInput(f"{where}: found {literal(value)}, expected a number from 0 to 1")
    if tasks is not None and not any(task.confidence for task in tasks):
        raise BadInput(f"{where}: found only branches that predict numbers, expected one with labels")
    return float(value)


def withheld(task: Task, answer: Mapping[str, Any], min_confidence: float | None) -> dict[str, Any]:
    """Return a presented answer with "no answer" in place of what is less confident than `min_confidence`.

    Of a text's label or labels: `label` or `labels` becomes None and `abstained` is true, else it is false; beside labels
    stands the `confidence` in all of them. Of spans: those that are kept, and in `left_out` how many are not. Of a blank text
    all are None. A number has no confidence, so a regression's answer is returned as it is, as is any without `min_confidence`.

    Args:
        task: the answer's.
        answer: as `Task.present` gives it, with all `scores`, or with parts that are None.
        min_confidence: from 0 to 1.
    """
    if min_confidence is None or task.confidence is None:
        return dict(answer)
    return task.confidence.withheld(answer, min_confidence)
