"""Whether the branch is as often right as its probabilities say: a reliability diagram."""

from __future__ import annotations

from collections.abc import Sequence

from trunkline.explain.subject import Subject
from trunkline.model.decision import decode
from trunkline.pages.section import Picture, Section, Table, drawn
from trunkline.pictures.reliability import reliability
from trunkline.tasks.calibration import BINS, Bin, calibration_error, reliability_bins

TITLE = "Calibration"


def calibration(subject: Subject) -> Section:
    """Accuracy against confidence in bins of equal width, with the expected calibration error; without the temperature, too."""
    task, branch, rows = subject.task, subject.branch, subject.rows
    if task.confidence is None:
        return Section(TITLE, note=f"a {task.kind} task has no probabilities")
    graded = {"calibrated": task.confidence.probabilities(rows.decoded, rows.targets)}
    temperature = None if branch.decision is None else branch.decision.temperature
    if temperature is not None:
        plain = decode(branch.criterion, None, rows.logits, rows.offsets)
        graded["without temperature"] = task.confidence.probabilities(plain, rows.targets)
    else:
        graded = {"not calibrated": graded["calibrated"]}
    curves = {name: reliability_bins(*one) for name, one in graded.items()}
    errors = {name: calibration_error(*one) for name, one in graded.items()}
    table = Table("calibration", ("scores", *Bin._fields), [(name, *one) for name, own in curves.items() for one in own])
    what, counted = task.confidence.agrees, task.confidence.graded
    named = {f"{name}: error {errors[name]:.3f}": _filled(own) for name, own in curves.items()}
    panel = reliability(task.name, named, what, counted)
    first = next(iter(errors))
    alt = f"Points: {what} by confidence; the expected calibration error is {errors[first]:.3f}."
    note = (
        f"On the dashed line a probability is as large as the {what}; the bars are the share of {counted} in each of "
        f"{BINS} bins. The expected calibration error is the mean distance of the points from that line, by their rows"
    )
    note += f"; the temperature {temperature:.3g} was fitted on validation." if temperature is not None else "."
    return Section(TITLE, (Picture(drawn(panel), table, alt),), note=note)


def _filled(bins: Sequence[Bin]) -> list[Bin]:
    return [one for one in bins if one.rows]
