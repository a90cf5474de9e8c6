"""results.json of a study: the facts that a report shows, checked, with words for what several tables need."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from trunkline.errors import BadInput
from trunkline.studies.facts import RESULTS, read_facts

Number = int | float | None
Interval = tuple[float | None, float | None] | None
Verdict = Literal["better", "worse", "equivalent", "undecided"]


class Slice(NamedTuple):
    """What methods are compared within: the same trunk, training size and regime."""

    trunk: str
    size: str
    regime: str


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class TaskFacts(_Facts):
    kind: str
    metric: str
    higher_is_better: bool = True
    labels: list[str] | None = None


class MethodFacts(_Facts):
    floor: bool = False
    changes_trunk: bool = False


class Seed(_Facts):
    """A run: its scores on one task, and its folder below that of the study."""

    seed: int | None = None
    validation: float | None = None
    test: float | None = None
    metrics: dict[str, Any] = {}
    run: str | None = None


class Found(_Facts):
    """What a method reaches on a task: means over seeds, and of the first seed the scores of labels."""

    validation: float | None = None
    test: float | None = None
    deviation: float | None = None
    interval: Interval = None
    no_interval: str = ""  # why there is none
    by_seed: list[Seed] = []
    by_label: dict[str, dict[str, Number]] = {}
    confusion: dict[str, dict[str, int]] = {}


class Searched(_Facts):
    settings: dict[str, Any]
    validation: dict[str, float | None] | None = None


class Costs(_Facts):
    trained_parameters: Number = None
    added_parameters: Number = None
    seconds: Number = None
    epoch_seconds: Number = None
    stacked: Number = None
    steps_to_best: Number = None
    steps_per_second: Number = None
    peak_memory_bytes: Number = None
    bytes_per_task: Number = None
    pass_share: Number = None
    predict_seconds: Number = None


class CellFacts(_Facts):
    """A method within a slice."""

    method: str
    trunk: str
    size: str
    regime: str
    settings: dict[str, Any] | None = None
    searched: list[Searched] = []
    failed: dict[str, str] = {}
    tasks: dict[str, Found] = {}
    cost: Costs = Costs()

    @property
    def slice(self) -> Slice:
        return Slice(self.trunk, self.size, self.regime)


class ClaimFacts(_Facts):
    """Method `a` against `b`; the difference is in points, p-values called `holm` are corrected over all claims."""

    task: str
    trunk: str
    size: str
    regime: str
    a: str
    b: str
    difference: float | None = None
    interval: Interval = None
    p: float | None = None
    p_holm: float | None = None
    p_equivalence_holm: float | None = None
    test: str = ""
    effect: float | None = None
    effect_name: str = ""
    verdict: Verdict

    @property
    def slice(self) -> Slice:
        return Slice(self.trunk, self.size, self.regime)

    def about(self, method: str) -> ClaimFacts:
        """The same with this method as `a`."""
        if method == self.a:
            return self
        turned: dict[str, Verdict] = {"better": "worse", "worse": "better"}
        low, high = self.interval or (None, None)
        flipped = {name: None if value is None else -value for name, value in (("low", low), ("high", high))}
        return self.model_copy(
            update={
                "a": self.b,
                "b": self.a,
                "difference": None if self.difference is None else -self.difference,
                "interval": (flipped["high"], flipped["low"]),
                "effect": None if self.effect is None else -self.effect,
                "verdict": turned.get(self.verdict, self.verdict),
            }
        )


class BelowFloor(_Facts):
    task: str
    trunk: str
    size: str
    regime: str
    method: str
    floor: str
    sentence: str

    @property
    def slice(self) -> Slice:
        return Slice(self.trunk, self.size, self.regime)


class Point(_Facts):
    size: str
    rows: int | None = None  # by default those of the size
    trunk: str | None = None
    regime: str | None = None
    mean: float | None = None
    interval: Interval = None


class Data(_Facts):
    digests: dict[str, str] = {}
    rows: dict[str, int] = {}
    by_size: dict[str, int] = {}


class OnFront(_Facts):
    """A method that no other is better than at no higher cost. Facts of an earlier version have its name alone."""

    method: str
    trunk: str | None = None
    size: str | None = None
    regime: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        return {"method": value} if isinstance(value, str) else value

    def is_of(self, cell: CellFacts) -> bool:
        return self.method == cell.method and all(
            getattr(self, key) in (None, getattr(cell, key)) for key in ("trunk", "size", "regime")
        )


class Machine(_Facts):
    """Hardware and settings with the runs that were trained there, as folders below that of the study."""

    environment: dict[str, Any]
    runs: list[str] = []
    predictions: bool = False  # whether they were timed there


class Results(_Facts):
    """All of it. `methods` has the floors first."""

    schema_number: int = Field(alias="schema")
    name: str
    finished: bool = True
    config: dict[str, Any] = {}
    margin: float | None = None
    environment: dict[str, Any] = {}
    machines: list[Machine] = []
    versions: dict[str, Any] = {}
    data: Data = Data()
    tasks: dict[str, TaskFacts]
    methods: dict[str, MethodFacts]
    cells: list[CellFacts]
    claims: list[ClaimFacts] = []
    below_floor: list[BelowFloor] = []
    fronts: dict[str, dict[str, list[OnFront]]] = {}
    curves: dict[str, dict[str, list[Point]]] = {}
    break_even: dict[str, Any] | None = None
    findings: list[str] = []

    @cached_property
    def slices(self) -> list[Slice]:
        """In the order of the study."""
        return list(dict.fromkeys(cell.slice for cell in self.cells))

    @cached_property
    def main(self) -> Slice:
        """The one with the most training rows, of the first trunk and regime."""
        rows = self.data.by_size
        sizes = list(dict.fromkeys(one.size for one in self.slices))
        largest = max(sizes, key=lambda size: (rows.get(size, 0), sizes.index(size)))
        return next((one for one in self.slices if one.size == largest), self.slices[0])

    def called(self, one: Slice) -> str:
        """What tells a slice from the others, in words; empty where it is the only one. A part that is empty is not told."""
        trunk, _, regime = (len({getattr(other, key) for other in self.slices}) > 1 for key in one._fields)
        parts = (one.trunk if trunk else "", self.sized(one.size), one.regime if regime else "")
        return ", ".join(part for part in parts if part)

    def sized(self, size: str) -> str:
        """A training size in words; empty where it is the only one."""
        if len({one.size for one in self.slices}) == 1:
            return ""
        return "all rows" if size == "all" else f"{int(size):,} rows" if size.isdecimal() else size

    def placed(self, cell: CellFacts) -> str:
        """The method of a cell, with its trunk and its regime where the study has several."""
        varied = [key for key in ("trunk", "regime") if len({getattr(other, key) for other in self.slices}) > 1]
        place = ", ".join(getattr(cell, key) for key in varied)
        return f"{cell.method} ({place})" if place else cell.method

    def of_size(self, size: str) -> list[CellFacts]:
        """The cells of a size, of all trunks and regimes; a floor, which is the same in all regimes, in the first of them."""
        found: dict[tuple[str, str, str], CellFacts] = {}
        for one in self.slices:
            for cell in self.within(one) if one.size == size else ():
                found.setdefault((cell.method, cell.trunk, "" if self.methods[cell.method].floor else cell.regime), cell)
        return list(found.values())

    def within(self, one: Slice) -> list[CellFacts]:
        """The cells of a slice, in the order of the methods."""
        order = list(self.methods)
        return sorted((cell for cell in self.cells if cell.slice == one), key=lambda cell: order.index(cell.method))

    def better(self, task: str, one: float, other: float) -> bool:
        return one > other if self.tasks[task].higher_is_better else one < other

    def best(self, task: str, cells: Sequence[CellFacts], split: Literal["validation", "test"] = "test") -> CellFacts | None:
        """The cell with the best mean on a task, of equal ones the first; None where none has one."""
        found: CellFacts | None = None
        for cell in cells:
            score = self.score(cell, task, split)
            leading = None if found is None else self.score(found, task, split)
            if score is not None and (leading is None or self.better(task, score, leading)):
                found = cell
        return found

    def score(self, cell: CellFacts, task: str, split: str = "test") -> float | None:
        own = cell.tasks.get(task)
        return None if own is None else getattr(own, split)

    def leader(self, task: str, one: Slice) -> CellFacts | None:
        """What other methods are compared with: the best on validation within a slice, a floor only where nothing else is."""
        cells = self.within(one)
        trained = [cell for cell in cells if not self.methods[cell.method].floor]
        return self.best(task, trained, "validation") or self.best(task, cells, "validation") or self.best(task, cells)

    def shown(self, task: str) -> CellFacts | None:
        """Whose labels, confusions and errors are shown."""
        return self.leader(task, self.main)

    def claims_about(self, task: str, one: Slice, method: str) -> dict[str, ClaimFacts]:
        """By the other method, the claims about a method."""
        own = [claim for claim in self.claims if (claim.task, claim.slice) == (task, one) and method in (claim.a, claim.b)]
        return {turned.b: turned for claim in own for turned in (claim.about(method),)}


def read_results(folder: Path) -> Results:
    """The facts of the study in a folder.

    Raises:
        BadInput: there are none, or they cannot be read.
    """
    file, given = folder / RESULTS, read_facts(folder)
    try:
        found = Results.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise BadInput(
            f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}, so these are no facts of a study"
        ) from None
    if not found.cells:
        raise BadInput(f"{file}: cells: found none, expected at least one method with results")
    for kind, used, known in (
        ("methods", {cell.method for cell in found.cells}, found.methods),
        ("tasks", {task for cell in found.cells for task in cell.tasks}, found.tasks),
    ):
        if unknown := sorted(used - known.keys()):
            raise BadInput(f"{file}: {kind}: {unknown[0]!r} is missing, which cells are about")
    return found
