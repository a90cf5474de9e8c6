"""What a study trains: its runs, in two rounds, and which of them are trained together.

In the first round every cell (a method on a trunk, at a size, in a regime) is trained with its first seed and each of its
settings. The settings with the best validation score are kept; the second round repeats them with the other seeds. A setting is
chosen by validation alone, and what is reported is the test split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from trunkline.errors import BadInput
from trunkline.studies.config import ALL, Cell, StudyConfig, cells
from trunkline.studies.contradictions import refuse_contradictions
from trunkline.studies.subsets import read_sizes, subsets
from trunkline.tasks.base import LOWER_IS_BETTER
from trunkline.training.config import RunConfig
from trunkline.training.stacked import stack_key
from trunkline.training.stages import plan as stages_of

MOST = 32  # runs that are trained together: more save nothing, and a kill costs all of them


@dataclass(frozen=True, eq=False)
class PlannedRun:
    """A run of a study.

    Attributes:
        cell: that it belongs to.
        choice: which of the cell's candidates it has.
        seed: of its weights.
        config: resolved.
    """

    cell: Cell
    choice: int
    seed: int
    config: RunConfig

    @cached_property
    def key(self) -> str:
        """What its folder is called: the same for the same config, in any study."""
        return self.config.identity()[:20]

    def __str__(self) -> str:
        parts = [self.cell.method, *(f"{key} {value}" for key, value in self.cell.candidates[self.choice]), f"seed {self.seed}"]
        return ", ".join(parts)


@dataclass(frozen=True)
class Unit:
    """Runs that one process trains in one go: one, or several of one `stack_key`."""

    runs: tuple[PlannedRun, ...]
    stacked: bool

    @cached_property
    def key(self) -> str:
        return hashlib.sha256(" ".join(run.key for run in self.runs).encode()).hexdigest()[:20]


class Plan:
    """All cells of a study, resolved and checked.

    Args:
        config: of the study.
        where, base: as of `resolve`.

    Raises:
        BadInput: the first thing that cannot be trained or compared.
    """

    def __init__(self, config: StudyConfig, where: str = "config", base: Path = Path(".")) -> None:
        self.config, self.where = config, where
        self.cells: list[Cell] = []
        self.findings: list[str] = []
        self._runs: dict[tuple[Cell, int, int], PlannedRun] = {}
        left_out: dict[str, dict[str, None]] = {}  # by method, regimes
        refuse_contradictions(config, where)
        for cell in cells(config, where, base, _rows(config, where, base)):
            first = cell.config(cell.candidates[0], cell.seeds[0])
            if config.study.regimes and not _has_regime(first):
                left_out.setdefault(cell.method, {})[cell.regime] = None
                continue
            self.cells.append(cell)
            for choice in range(len(cell.candidates)):
                self._check(self.run(cell, choice, cell.seeds[0]))
        self.findings += [f"{name} does not have the regimes {', '.join(own)}" for name, own in left_out.items()]
        if not self.cells:
            raise BadInput(f"{where}: study.regimes: no method has one of these, expected {', '.join(['separate', 'joint'])}")
        self._refuse_equal()
        counts = {cell.method: len(cell.candidates) for cell in self.cells}
        if len(set(counts.values())) > 1:
            told = ", ".join(f"{name} {count}" for name, count in counts.items())
            self.findings.append(f"the methods do not search equally many settings: {told}")

    def run(self, cell: Cell, choice: int, seed: int) -> PlannedRun:
        """The run of a cell with one of its candidates and a seed."""
        key = (cell, choice, seed)
        if key not in self._runs:
            self._runs[key] = PlannedRun(cell, choice, seed, cell.config(cell.candidates[choice], seed))
        return self._runs[key]

    def searches(self) -> list[PlannedRun]:
        """The first round."""
        return [self.run(cell, choice, cell.seeds[0]) for cell in self.cells for choice in range(len(cell.candidates))]

    def repeats(self, chosen: Mapping[Cell, int]) -> list[PlannedRun]:
        """The second round, of those cells that have a choice."""
        return [self.run(cell, choice, seed) for cell, choice in chosen.items() for seed in cell.seeds[1:]]

    def total(self) -> int:
        """How many runs there are."""
        return sum(len(cell.candidates) + len(cell.seeds) - 1 for cell in self.cells)

    def _check(self, run: PlannedRun) -> None:
        """Raise BadInput for what would be found only once the run is under way."""
        config = run.config
        with config.naming():
            stages_of(config, Path(), [tuple(config.tasks)])
        if config.data.test is None:
            raise BadInput(
                f"{self.where}: data.test: not given, expected data or a share such as 10%: settings are chosen on validation, "
                "and methods are compared on a test split"
            )
        for name, task in config.tasks.items():
            if task.metric == "loss":
                raise BadInput(f"{self.where}: tasks.{name}.metric: found loss, expected a metric of answers to compare by")

    def _refuse_equal(self) -> None:
        """Methods may share runs, but not all of them."""
        seen: dict[frozenset[str], Cell] = {}
        for cell in self.cells:
            keys = frozenset(self.run(cell, choice, cell.seeds[0]).key for choice in range(len(cell.candidates)))
            other = seen.setdefault(keys, cell)
            if other is not cell:
                raise BadInput(f"{self.where}: methods: {cell.method} and {other.method} are the same, expected each once")


def _rows(config: StudyConfig, where: str, base: Path) -> dict[str, int | str]:
    """By size, the `data.rows` that lets smaller sizes be within larger ones, where the data have to say that."""
    sizes = read_sizes(list(config.study.sizes), where, "study.sizes")
    if not any(size.rows for size in sizes) or not any(size.per_class for size in sizes):
        return {}
    whole = config.model_copy(update={"study": config.study.model_copy(update={"sizes": [ALL]})})
    first = cells(whole, where, base)[0]
    found = subsets(first.config(first.candidates[0], first.seeds[0]), sizes, where, "study.sizes")
    return {str(one.size): one.config.data.rows for one in found if one.config.data.rows is not None}


def _has_regime(config: RunConfig) -> bool:
    """Whether the method of a config can be trained in its regime."""
    try:
        stages_of(config, Path(), [tuple(config.tasks)])
    except BadInput as error:
        if error.key == "training.regime":
            return False
        raise
    return True


def units(runs: Sequence[PlannedRun]) -> list[Unit]:
    """Runs as they are trained, in order: those that can be stacked together, MOST at a time."""
    groups: dict[str, list[PlannedRun]] = {}
    for run in runs:
        groups.setdefault(stack_key(run.config) or run.key, []).append(run)
    return [
        Unit(tuple(own[start : start + MOST]), stack_key(own[0].config) is not None)
        for own in groups.values()
        for start in range(0, len(own), MOST)
    ]


def choose(results: Mapping[int, Mapping[str, Any]]) -> int | None:
    """Which candidate has the best mean validation score over tasks, of equal ones the first; None where none has a result.

    Args:
        results: by candidate, `tasks` of result.json.
    """

    def score(choice: int) -> tuple[int, float]:
        known = []
        for task in results[choice].values():
            value = task["validation"].get(task["monitor"])
            if value is not None:
                known.append(-value if task["monitor"] in LOWER_IS_BETTER else value)
        return len(known), sum(known) / max(len(known), 1)

    return max(sorted(results), key=score, default=None)
