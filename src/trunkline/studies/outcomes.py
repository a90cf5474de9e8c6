"""What a study has found so far, run by run: read from its folder, so that any process can do it at any time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trunkline.model.approach import approach_of
from trunkline.studies.config import Cell
from trunkline.studies.study import Study


@dataclass(frozen=True)
class Repeat:
    """One seed of a method.

    Attributes:
        seed: of the run.
        path: of its folder.
        result: its result.json.
    """

    seed: int
    path: Path
    result: Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """A cell with what was found of it.

    Attributes:
        cell: the method on a trunk, at a size, in a regime.
        settings: those that are best on validation; None where no run of the first round has a result.
        searched: for each candidate, the validation score of every task; None for one without a result.
        repeats: the runs with these settings, by seed.
        failed: why runs have no result, by what they are called.
        method: the section of a run's config.
        floor: whether it is a simple baseline (floors/).
        changes_trunk: whether each task needs a trunk of its own.
    """

    cell: Cell
    settings: Mapping[str, Any] | None
    searched: list[tuple[Mapping[str, Any], Mapping[str, float | None] | None]]
    repeats: list[Repeat]
    failed: Mapping[str, str] = field(default_factory=dict)
    method: Mapping[str, Any] = field(default_factory=dict)
    floor: bool = False
    changes_trunk: bool = False


def outcomes(study: Study) -> list[Outcome]:
    """One for each cell, in the order of the plan."""
    plan, chosen = study.plan, study.chosen()
    found = []
    for cell in plan.cells:
        searched: list[tuple[Mapping[str, Any], Mapping[str, float | None] | None]] = []
        failed, repeats = dict[str, str](), list[Repeat]()
        for choice, settings in enumerate(cell.candidates):
            run = plan.run(cell, choice, cell.seeds[0])
            result = study.result(run)
            scores = None
            if result is not None:
                scores = {name: task["validation"].get(task["monitor"]) for name, task in result["tasks"].items()}
            elif (why := study.failure(run)) is not None:
                failed[str(run)] = why
            searched.append((dict(settings), scores))
        for seed in cell.seeds if cell in chosen else ():
            run = plan.run(cell, chosen[cell], seed)
            if (result := study.result(run)) is not None:
                repeats.append(Repeat(seed, study.place(run), result))
            elif (why := study.failure(run)) is not None:
                failed[str(run)] = why
        kept = dict(cell.candidates[chosen[cell]]) if cell in chosen else None
        config = plan.run(cell, chosen.get(cell, 0), cell.seeds[0]).config
        method, changes = config.as_dict()["method"], approach_of(config.method).changes_trunk
        found.append(Outcome(cell, kept, searched, repeats, failed, method, changes_trunk=changes))
    return found
