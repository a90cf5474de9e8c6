"""The config of a study: methods, and what they are to be compared on.

It is the config of a run with `methods` in the place of `method`, and a section `study`:

    trunk: minilm
    data: {train: snips, validation: 10%, test: "snips:test"}
    tasks: {intent: {kind: sequence, label: label}}
    training: {epochs: 8}
    methods:
      probe:
      adalayers: {method: {name: adalayers, dim: 64}}
      layers: {method: single_layer, each: {method.layer: every}}
      lora: {method: {name: lora, r: 16}, seeds: 1, tune: {learning_rate: [3e-4, 1e-3]}}
    study: {seeds: 5, tune: {learning_rate: [1e-3, 1e-2]}, sizes: [8 per class, all]}
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, field_validator

from trunkline.errors import BadInput, literal
from trunkline.files import distinct_names, safe_name
from trunkline.model.checking import Origin, refuse_extremes, validate_section
from trunkline.studies.grids import Seeds, combinations, each_once, seeds_of
from trunkline.training.config import RunConfig, read_file, resolve
from trunkline.training.overrides import override
from trunkline.training.sections import Regime, Section, TrunkSection
from trunkline.trunk.load import count_layers

Grid = dict[str, Annotated[list[Any], Field(min_length=1)]]
ALL = "all"


class MethodEntry(Section):
    """One of `methods`: its sections under what the study says for all."""

    preset: str | None = None
    method: Any = None  # a name or a section; None: called as the entry
    training: dict[str, Any] = Field({})
    tune: Grid | None = None  # instead of that of the study
    # Makes one method of each combination. `every`, of method.layer: each layer that the trunk has.
    each: dict[str, Annotated[list[Any], Field(min_length=1)] | Literal["every"]] = Field({})
    seeds: Seeds | None = None  # instead of those of the study

    _once = field_validator("seeds")(each_once)


class StudySection(Section):
    """What is the same for all methods."""

    seeds: Seeds = 3  # how many, from training.seed on
    tune: Grid = Field({})  # values of keys; each method takes those that are best on validation, with the first seed
    sizes: list[int | str] = Field([ALL], min_length=1)  # of the training data: rows, "8 per class", "all"
    regimes: list[Regime] = Field([])  # of training.regime; none: that of the training section
    floors: bool = True  # whether simple baselines are compared, too
    margin: float = Field(0.5, gt=0)  # points of a metric within which two methods count as equivalent

    _once = field_validator("seeds", "sizes", "regimes")(each_once)


class StudyConfig(Section):
    """A study as it was written; `cells` makes runs of it."""

    trunk: Any = None
    trunks: Annotated[list[Any], Field(min_length=1)] | None = None  # several, instead of `trunk`
    data: dict[str, Any]
    tasks: dict[str, Any] = Field(min_length=1)
    training: dict[str, Any] = Field({})
    trackers: Any = None
    methods: dict[str, MethodEntry] = Field(min_length=1)
    study: StudySection = StudySection()

    @field_validator("methods", mode="before")
    @classmethod
    def _entries(cls, value: object) -> object:
        """A list of names, or a mapping whose empty entries are called as a method is."""
        if isinstance(value, list) and all(isinstance(one, str) for one in value):
            value = dict.fromkeys(each_once(value))
        return {key: {} if one is None else one for key, one in value.items()} if isinstance(value, dict) else value


@dataclass(frozen=True, eq=False)
class Cell:
    """A method on one trunk, at one size and in one regime: what is repeated over seeds.

    Attributes:
        method: its name in the study; with `each` the values are part of it.
        trunk, size, regime: as the study names them.
        candidates: the settings that are searched, each by key; [{}] where nothing is.
        seeds: that it is repeated with; the first one also searches.
        values: the mapping that its configs are resolved from.
        where, base: as of `resolve`; where it is an Origin, it knows the overrides.
    """

    method: str
    trunk: str
    size: str
    regime: str
    candidates: tuple[tuple[tuple[str, Any], ...], ...]
    seeds: tuple[int, ...]
    values: Mapping[str, Any]
    where: str
    base: Path

    def config(self, settings: tuple[tuple[str, Any], ...], seed: int) -> RunConfig:
        """The config of a run. BadInput where a key or a value cannot be."""
        values = deepcopy(dict(self.values))
        for key, value in settings:
            put(values, key, value, self.where)
        values["training"]["seed"] = seed
        return resolve(values, self.where, self.base, self.where.overrides if isinstance(self.where, Origin) else ())


def cells(
    config: StudyConfig, where: str = "config", base: Path = Path("."), rows: Mapping[str, int | str] | None = None
) -> list[Cell]:
    """Every cell of a study, in the order of its trunks, sizes, regimes and methods.

    Args:
        config: of the study.
        where, base: as of `resolve`.
        rows: by size, `data.rows`; where sizes per class and numbers of rows are to be within each other (subsets.py).

    Raises:
        BadInput: names that cannot be, or values that contradict each other.
    """
    if config.trunk is not None and config.trunks is not None:
        raise BadInput(f"{where}: trunks: given together with trunk, expected one of them")
    trunks = config.trunks or ["minilm" if config.trunk is None else config.trunk]
    regimes: list[str | None] = [*config.study.regimes] or [None]
    first = config.training.get("seed", 0)
    distinct_names(config.methods, f"{where}: methods")
    found = []
    for trunk, size, regime in itertools.product(trunks, config.study.sizes, regimes):
        for name, entry in config.methods.items():
            safe_name(name, f"{where}: methods")
            each = f"{where}: methods.{name}.each"
            for chosen in combinations(_spelled_out(entry.each, trunk, each), each):
                values = _values(config, name, entry, trunk, (rows or {}).get(str(size), size), regime)
                for key, value in chosen:
                    put(values, key, value, where)
                if values["training"].get("data_seed") is None:
                    values["training"]["data_seed"] = first
                tuned = "study.tune" if entry.tune is None else f"methods.{name}.tune"
                tune = config.study.tune if entry.tune is None else entry.tune
                found.append(
                    Cell(
                        _called(name, chosen),
                        trunk_name(trunk),
                        str(size),
                        regime or config.training.get("regime", "separate"),
                        tuple(combinations(tune, f"{where}: {tuned}")),
                        seeds_of(config.study.seeds if entry.seeds is None else entry.seeds, first, where),
                        values,
                        Origin(f"{where}: methods.{name}", where.overrides if isinstance(where, Origin) else ()),
                        base,
                    )
                )
    return found


def load_study(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> StudyConfig:
    """Read a YAML file and apply `key.sub=value` overrides.

    Raises:
        BadInput: no such file, or the first thing that is wrong in it.
    """
    values = read_file(Path(path), "a YAML config of a study")
    return study_of(override(values, overrides) if isinstance(values, dict) else values, Origin(str(path), overrides))


def study_of(values: Any, where: str = "config") -> StudyConfig:
    """Check the mapping that a study is written as."""
    if not isinstance(values, dict):
        raise BadInput(where=where, found=literal(values), expected="a mapping with the keys data, tasks and methods")
    refuse_extremes(values, where, "")
    if "sweep" in values:
        raise BadInput(f"{where}: sweep: found the config of a sweep, expected that of a study; trunkline sweep takes it")
    if "method" in values and "methods" not in values:
        raise BadInput(f"{where}: method: found the config of one run, expected methods, as a study compares several")
    made: StudyConfig = validate_section(StudyConfig, values, where, "")
    return made


def _values(
    config: StudyConfig, name: str, entry: MethodEntry, trunk: Any, size: int | str, regime: str | None
) -> dict[str, Any]:
    """The mapping of a run's config."""
    values: dict[str, Any] = {
        "trunk": trunk,
        "data": dict(config.data),
        "tasks": deepcopy(config.tasks),
        "method": name if entry.method is None else deepcopy(entry.method),
        "training": {**config.training, **entry.training},
    }
    if entry.preset is not None:
        values["preset"] = entry.preset
        if entry.method is None:
            del values["method"]
    if config.trackers is not None:
        values["trackers"] = deepcopy(config.trackers)
    if size != ALL:
        values["data"]["rows"] = size
    if regime is not None:
        values["training"]["regime"] = regime
    return values


def path_of_key(key: str) -> str:
    """The path of a key in the config of a run: one without a dot is of `training`, unless it is a section."""
    return key if "." in key or key in RunConfig.model_fields else f"training.{key}"


def put(values: dict[str, Any], key: str, value: Any, where: str) -> None:
    """Set a key of the mapping of a run's config, whose sections are copied and not changed."""
    *sections, last = path_of_key(key).split(".")
    place = values
    for section in sections:
        inner = place.get(section)
        if section in ("method", "trunk") and isinstance(inner, str):
            inner = {"name": inner}
        if inner is None:
            inner = {}
        if not isinstance(inner, dict):
            raise BadInput(f"{where}: {key}: found {literal(inner)} at {section}, expected a section")
        place[section] = inner = dict(inner)
        place = inner
    place[last] = value


def _spelled_out(each: Mapping[str, list[Any] | Literal["every"]], trunk: Any, where: str) -> dict[str, list[Any]]:
    """The grid with the layers of the trunk in the place of `every`."""
    found: dict[str, list[Any]] = {}
    for key, values in each.items():
        if isinstance(values, list):
            found[key] = values
        elif key == "method.layer":
            section = validate_section(TrunkSection, trunk if isinstance(trunk, dict) else {"name": trunk}, where, "trunk")
            found[key] = list(range(count_layers(section.name, section.revision, section.stack) + 1))
        else:
            raise BadInput(f"{where}.{key}: found every, expected a list of values; only method.layer knows every one")
    return found


def _called(name: str, chosen: tuple[tuple[str, Any], ...]) -> str:
    return " ".join([name, *(f"{key.rpartition('.')[2]}={_short(value)}" for key, value in chosen)])


def _short(value: Any) -> str:
    return value if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True).partition("\n")[0]


def trunk_name(trunk: Any) -> str:
    """What a study calls a trunk: an alias, or the name in its section."""
    name = trunk.get("name", "minilm") if isinstance(trunk, Mapping) else trunk
    return str(name)
