"""The config of a sweep: that of a run, and a section `sweep` with the values that are searched.

trunk: minilm
data: {train: snips, validation: 10%, test: "snips:test"}
tasks: {intent: {kind: sequence, label: label}}
sweep:
  space:
    learning_rate: {low: 1e-4, high: 1e-1, log: true}
    method.dim: [32, 64, 128]
  trials: 30
  pruner: hyperband
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from trunkline.errors import BadInput, literal
from trunkline.model.checking import Origin, refuse_extremes, validate_section
from trunkline.studies.grids import Seed, Seeds, each_once
from trunkline.training.config import read_file
from trunkline.training.overrides import override
from trunkline.training.sections import Section, Weight

STORAGE = "sweep.storage="
LONGEST_NAME = 200  # characters; Optuna's tables take 512


class SweepSection(Section):
    """How the space is searched, and what becomes of the best trial."""

    space: dict[str, Any] = Field(min_length=1)  # by key of the config: a list of choices, or {low, high, log, step}
    sampler: Literal["tpe", "grid", "random"] = "tpe"
    pruner: Literal["none", "median", "hyperband"] = "none"  # stops trials that are worse than others were by then
    trials: int | None = Field(None, ge=1)  # in all, however often it is started; None: 20, of a grid all
    storage: str | None = None  # URL of a database; None: a file in the sweep's folder
    seed: Seed = 0  # of the sampler
    weights: dict[str, Weight] = Field({})  # of each task's monitored metric in the mean; 1 where a task is not named
    seeds: Seeds = 1  # with which the best trial is trained again and judged on test: how many from training.seed on, or which

    _once = field_validator("seeds")(each_once)


@dataclass(frozen=True, eq=False)
class SweepConfig:
    """A sweep as it was written.

    Attributes:
        values: the mapping of a run's config, whose keys are searched.
        section: `sweep`.
        where, base: as of `resolve`.
        name: of the sweep, in the storage too.
    """

    values: Mapping[str, Any]
    section: SweepSection
    where: str
    base: Path
    name: str


def load_sweep(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> SweepConfig:
    """Read a YAML file and apply `key.sub=value` overrides.

    Raises:
        BadInput: no such file, or the first thing that is wrong in it. No message shows the URL of the storage.
    """
    path = Path(path)
    storage = next((text.removeprefix(STORAGE) for text in reversed(overrides) if text.startswith(STORAGE)), None)
    overrides = [text for text in overrides if not text.startswith(STORAGE)]
    values = read_file(path, "a YAML config of a sweep")
    try:
        if isinstance(values, dict):
            values = override(values, overrides)
        return sweep_of(values, Origin(str(path), overrides), path.parent, path.stem, storage)
    except BadInput as error:
        raise without_urls(error) from None


def sweep_of(
    values: Any, where: str = "config", base: Path = Path("."), name: str = "sweep", storage: str | None = None
) -> SweepConfig:
    """Check the mapping that a sweep is written as.

    Args:
        values: of a run's config, with a section `sweep`.
        where, base: as of `resolve`.
        name: of the sweep.
        storage: instead of `sweep.storage`.
    """
    if not isinstance(values, dict):
        raise BadInput(where=where, found=literal(values), expected="a mapping with the keys data, tasks and sweep")
    if "sweep" not in values:
        raise BadInput(f"{where}: sweep: not given, expected a section with the space that is searched")
    if len(name) > LONGEST_NAME:
        raise BadInput(f"{where}: found a name of {len(name)} characters, expected at most {LONGEST_NAME}")
    refuse_extremes(values, where, "")
    section: SweepSection = validate_section(SweepSection, values["sweep"], where, "sweep")
    if storage is not None:
        section.storage = storage
    return SweepConfig({key: value for key, value in values.items() if key != "sweep"}, section, where, base, name)


def without_urls(error: BadInput) -> BadInput:
    """The same error with nothing of a URL but its scheme: that of a storage may have a password."""
    return BadInput(re.sub(r"://[^\s'\"]*(.*@)?", "://***", str(error))) if "://" in str(error) else error


def refuse_unknown_tasks(section: SweepSection, tasks: Iterable[str], where: str) -> None:
    """Raise BadInput for weights of tasks that there are not, or that leave none."""
    from trunkline.errors import unknown_name

    tasks = list(tasks)
    for name in section.weights:
        if name not in tasks:
            raise unknown_name(f"{where}: sweep.weights", name, tasks)
    if not any(section.weights.get(name, 1.0) for name in tasks):
        raise BadInput(f"{where}: sweep.weights: found 0 for every task, expected one with a weight")
