"""What `compare` may be given, made a plan: a YAML file or its mapping, or a data file, for which the study is guessed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from trunkline.data.sources import read_table
from trunkline.errors import BadInput, literal
from trunkline.model.checking import Origin
from trunkline.studies.config import load_study, study_of
from trunkline.studies.plan import Plan
from trunkline.training.given import CONFIG_SUFFIXES, guess_values
from trunkline.training.guessed import METHOD, run_name
from trunkline.training.overrides import override

# Methods for data that came without a config. Each tries its own learning rate and three times that.
METHODS: dict[str, Any] = {
    "probe": {"tune": {"learning_rate": [0.01, 0.03]}},
    "adalayers": {"method": METHOD, "tune": {"learning_rate": [0.001, 0.003]}},
    "lora": {"tune": {"learning_rate": [0.0005, 0.0015]}, "seeds": 1},
}


@dataclass(frozen=True)
class GivenStudy:
    """A plan and the name of its study; how the columns were interpreted where it was made from data alone."""

    plan: Plan
    name: str
    sentences: tuple[str, ...] = ()


def study_given(given: Any, overrides: list[str]) -> GivenStudy:
    """Return the plan that `given` stands for.

    Raises:
        BadInput: what is none of these, or the first thing that is wrong in it.
    """
    if isinstance(given, Mapping):
        where = Origin("config", overrides)
        return GivenStudy(Plan(study_of(override(dict(given), overrides), where), where), "study")
    if not isinstance(given, str | PathLike):
        raise BadInput(
            f"compare: found {literal(given)}, expected a YAML file of a study, its mapping, or the name of a file with data"
        )
    path = Path(given)
    if path.suffix.lower() in CONFIG_SUFFIXES:
        return GivenStudy(Plan(load_study(path, overrides), Origin(str(path), overrides), path.parent), path.stem)
    source, where = str(given), Origin(str(given), overrides)
    guessed = guess_values(source, read_table(source), overrides)
    values: dict[str, Any] = {key: value for key, value in guessed.values.items() if key != "method"}
    plan = Plan(study_of(override({**values, "methods": METHODS}, overrides), where), where)
    return GivenStudy(plan, run_name(source), tuple(guessed.sentences))
