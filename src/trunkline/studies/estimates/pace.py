"""How long a study takes and what it needs, from what a few batches of each of its units showed (probe.py).

    seconds of a unit = load + read + passing x tokens without stored states
                        + epochs x training x tokens of an epoch + scoring x tokens judged + rest

each rate in seconds per token, as measured of this unit on this machine. All epochs are counted: a run that stops early takes
less. While a study runs, its display corrects what is estimated of the rest by what units have taken so far (time_left.py).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from trunkline.studies.plan import PlannedRun, Unit
from trunkline.training.stacked import VARY


@dataclass(frozen=True)
class Pace:
    """What a few batches of a unit showed. Tokens are those of the whole unit, with all stages of its runs.

    Attributes:
        trunk, size, stacked: of the unit, and
        runs: how many it trains at once.
        rows: of the training data.
        epochs: at most.
        load, read: seconds to read the trunk, and to read, check and tokenise the data.
        passing, training, scoring: seconds a token: of a pass of the trunk, of an epoch, of judging.
        rest: seconds of all else, saving included.
        tokens: of an epoch.
        judged: scored on validation while training.
        last: scored at the end, on validation and test.
        stored: of texts whose states are stored, and
        found: of those, how many are stored already.
        tested: of test texts, which the trunk reads besides where others' states are stored.
        timed: of test texts that predictions are timed on.
        layers: whose states are stored; none where the trunk runs in every epoch.
        bytes: that the states of a token take on disk.
        disk: bytes that each run keeps.
        memory: bytes at the peak, of the process or on the GPU, beside what units of other kinds leave behind.
        depths: by method (`method_of`), the share of the unit's pass after which it has read all that it needs; 1 by default.
    """

    trunk: str
    size: str
    stacked: bool
    runs: int
    rows: int
    epochs: int
    load: float
    read: float
    passing: float
    training: float
    scoring: float
    rest: float
    tokens: int
    judged: int
    last: int
    stored: int
    found: int
    tested: int
    timed: int
    layers: tuple[int, ...]
    bytes: int
    disk: int
    memory: int
    depths: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Pace:
        return cls(**{**values, "layers": tuple(values["layers"])})

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def on(self, rows: int) -> Pace:
        """The same with another number of training rows of such texts."""
        share = rows / self.rows
        tokens = {name: round(getattr(self, name) * share) for name in ("tokens", "stored", "found")}
        return replace(self, rows=rows, **tokens)

    def with_runs(self, runs: int) -> Pace:
        """The same with another number of runs, each of which takes its share."""
        share = runs / self.runs
        return replace(self, runs=runs, training=self.training * share, scoring=self.scoring * share, rest=self.rest * share)


@dataclass(frozen=True)
class Estimate:
    """Seconds of a unit: until training begins, of training with its evaluations, all epochs, and after that."""

    before: float
    training: float
    after: float

    @property
    def seconds(self) -> float:
        return self.before + self.training + self.after


@dataclass(frozen=True)
class Need:
    """What units need together: bytes on disk of new layer states, bytes on disk of runs, and bytes of memory at the peak."""

    states: int
    runs: int
    memory: int


@dataclass
class Forecast:
    """What the units of a study will take.

    Args:
        paces: by kind (`kind_of`), as measured.
        rows: of the training data, by size.
        failed: why a kind could not be measured.
        stored: by trunk, a layer and the tokens whose states will be stored before the first unit is trained.
        findings: what was noticed in the data while measuring.
    """

    paces: dict[str, Pace] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    stored: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    findings: Sequence[str] = ()

    def pace(self, unit: Unit) -> Pace | None:
        """What is known of a unit, or of the nearest one; None where nothing is, or where this one could not be measured."""
        size, kind = unit.runs[0].cell.size, kind_of(unit)
        found = self.paces.get(kind)
        if found is None:
            if kind in self.failed:
                return None
            trunk = trunk_of(unit.runs[0])
            alike = [pace for pace in self.paces.values() if (pace.trunk, pace.stacked) == (trunk, unit.stacked)]
            if not alike:
                return None
            near = min(alike, key=lambda pace: (pace.size != size, abs(pace.runs - len(unit.runs))))
            found = near.with_runs(len(unit.runs))
        return found.on(self.rows[size]) if size != found.size else found

    def estimates(self, units: Sequence[Unit]) -> dict[str, Estimate]:
        """By key, the estimates of units that are trained in this order: states that one has stored are there for the next."""
        found = {}
        for unit, pace, new in self._in_turn(units):
            found[unit.key] = Estimate(
                before=pace.load + pace.read + pace.passing * new,
                training=pace.training * pace.tokens * pace.epochs + pace.scoring * pace.judged,
                after=pace.scoring * pace.last + pace.passing * pace.tested + pace.rest,
            )
        return found

    def need(self, units: Sequence[Unit]) -> Need:
        """What the same units need; checkpoints, which are gone at the end, are not counted."""
        turns = self._in_turn(units)
        return Need(
            states=sum(pace.bytes * new for _, pace, new in turns),
            runs=sum(pace.disk * len(unit.runs) for unit, pace, _ in turns),
            memory=max((pace.memory for _, pace, _ in turns), default=0),
        )

    def _in_turn(self, units: Sequence[Unit]) -> list[tuple[Unit, Pace, int]]:
        """Those units that something is known of, and the tokens whose states each is the first to store."""
        there = [(trunk, frozenset([layer]), tokens) for trunk, (layer, tokens) in self.stored.items()]
        found = []
        for unit in units:
            if (pace := self.pace(unit)) is None:
                continue
            layers = frozenset(pace.layers)
            before = max((tokens for trunk, own, tokens in there if trunk == pace.trunk and own >= layers), default=0)
            found.append((unit, pace, max(0, pace.stored - max(before, pace.found))))
            there.append((pace.trunk, layers, pace.stored))
        return found


def kind_of(unit: Unit) -> str:
    """A hash of what units have in common that take equally long.

    That is which methods they train at once, how often each, how long, and on which trunk; and on how much data, but for a unit
    of one run whose trunk is changed, which takes as long as it has tokens.
    """
    counts = Counter(_trained(run) for run in unit.runs)
    first = unit.runs[0]
    parts = [trunk_of(first), unit.stacked, first.cell.size if unit.stacked else "", sorted(counts.items())]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:20]


def trunk_of(run: PlannedRun) -> str:
    """The `trunk:` section of a run, as JSON."""
    return json.dumps(run.config.as_dict()["trunk"], sort_keys=True)


def method_of(run: PlannedRun) -> str:
    """The `method:` section of a run, as JSON."""
    return json.dumps(run.config.as_dict()["method"], sort_keys=True)


def _trained(run: PlannedRun) -> str:
    """The method of a run and how it is trained, but for what changes no time."""
    values = run.config.as_dict()
    training = {key: value for key, value in values["training"].items() if key not in VARY and key != "data_seed"}
    return json.dumps([values["method"], training], sort_keys=True)
