"""The config of a distillation: the same style, checks and messages as the config of a run.

trunk: minilm
student: {layers: [1, 3, 6]}
data: {train: [reviews.jsonl.gz, snips]}
losses: {mse: {layers: all}, cosine: {layers: last}}
training: {epochs: 5, learning_rate: 5e-4}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, field_validator, model_validator

from trunkline.data.empty import EmptyTexts
from trunkline.data.formats import formats
from trunkline.data.sources import locate
from trunkline.errors import BadInput, literal
from trunkline.model.checking import Origin, at, refuse_extremes, validate_section
from trunkline.training.config import naming_trunk, read_values
from trunkline.training.hints import refuse_misplaced
from trunkline.training.memory import Memory
from trunkline.training.paths import folder_or_name
from trunkline.training.sections import Section, Share, TrunkSection, share

LayerNumber = Annotated[int, Field(ge=0)]


class StudentSection(Section):
    """What the student is: fewer blocks than the teacher, narrower ones, or both."""

    # Blocks of the teacher, from 1, that the student's begin as; or how many: these are spread from the first to the last.
    layers: Annotated[int, Field(ge=1)] | Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)]
    hidden_size: int | None = Field(None, ge=1)  # narrower than the teacher's; None: as wide
    weights: Literal["copied", "random"] = "copied"  # first weights: the teacher's (narrower: cut to size), or random ones

    @field_validator("layers")
    @classmethod
    def _rising(cls, value: int | list[int]) -> int | list[int]:
        if isinstance(value, list) and value != sorted(set(value)):
            raise ValueError("expected numbers of blocks in rising order, each once")
        return value


class TextsSection(Section):
    """Where the texts come from. Labels are not read."""

    train: str | Annotated[list[str], Field(min_length=1)]  # several may have other columns and formats
    validation: str | Annotated[list[str], Field(min_length=1)] | Share = "2%"  # losses are measured on it
    text: str = "text"  # the column with the text; by default also `tokens`, joined by blanks, of a source without `text`
    empty_texts: EmptyTexts = "skip"  # rows with no text: skipped and reported, or refused
    format: str | None = None  # of the files, where their suffix does not say it

    @field_validator("format")
    @classmethod
    def _known_format(cls, value: str | None) -> str | None:
        if value is not None and value not in formats.names():
            raise ValueError(f"expected one of {', '.join(formats.names())}")
        return value

    @field_validator("validation")
    @classmethod
    def _share(cls, value: object) -> object:
        return share(value)


class LossSection(Section):
    """One loss, and the layers that it compares."""

    # all: every layer of the student, spread evenly over the teacher's; last: the last of both; or {student's: teacher's}.
    layers: Literal["all", "last"] | Annotated[dict[LayerNumber, LayerNumber], Field(min_length=1)] = "all"
    weight: float = Field(1.0, gt=0)  # what the loss is multiplied by


class RelationSection(LossSection):
    """The loss on relations within attention; its layers are blocks, from 1."""

    layers: Literal["all", "last"] | Annotated[dict[LayerNumber, LayerNumber], Field(min_length=1)] = "last"
    heads: int | None = Field(None, ge=1)  # relation heads; None: as many as the student's attention has


class LossesSection(Section):
    """What the student is trained on: the sum of these."""

    mse: LossSection | None = None  # mean squared error of layer states
    cosine: LossSection | None = None  # 1 - cosine of layer states
    relation: RelationSection | None = None  # KL divergence of query, key and value relations

    @model_validator(mode="after")
    def _one_at_least(self) -> LossesSection:
        if not self.given():
            raise ValueError("expected one of mse, cosine and relation at least, such as mse: {layers: all}")
        return self

    def given(self) -> dict[str, LossSection]:
        """The losses that are used, by name."""
        named = {"mse": self.mse, "cosine": self.cosine, "relation": self.relation}
        return {name: section for name, section in named.items() if section is not None}


class DistillationTraining(Section):
    """How the student is trained, and where the teacher's layer states are kept; as the keys of the same names of a run."""

    epochs: int = Field(5, ge=1)
    batch_tokens: int = Field(4096, ge=8)  # padded tokens in a batch
    learning_rate: float = Field(5e-4, gt=0)  # at its peak
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["one_cycle", "linear", "cosine", "constant"] = "one_cycle"
    warmup: float = Field(0.1, ge=0, lt=1)  # share of all steps; one_cycle: share until the peak
    clip_norm: float | None = Field(1.0, gt=0)
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # of the student's passes; auto: the faster on this machine
    states: Literal["auto", "store", "live"] = "auto"
    states_dtype: Literal["bf16", "fp32", "int8"] = "bf16"
    states_budget_gb: float | None = Field(None, gt=0, le=1e9)
    seed: int = Field(0, ge=0, lt=2**32)  # of drawn texts, of the order of batches, and of random first weights


class DistillConfig(Section):
    """A distillation, resolved: what `distillation.yaml` in the student's folder holds."""

    trunk: TrunkSection = TrunkSection()  # the teacher
    student: StudentSection
    data: TextsSection
    losses: LossesSection = LossesSection(mse=LossSection())
    training: DistillationTraining = DistillationTraining()
    _origin: Origin = PrivateAttr(Origin("config"))
    _memory: Memory = PrivateAttr(default_factory=Memory)

    @field_validator("trunk", mode="before")
    @classmethod
    def _trunk_name(cls, value: object) -> object:
        return {"name": value} if isinstance(value, str) else value

    def identity(self) -> str:
        """sha256 (hex) of what the result depends on: not the device."""
        values = self.as_dict()
        values["trunk"]["device"] = "auto"
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        """The resolved config as plain JSON-able values, defaults included."""
        return self.model_dump(mode="json")

    @property
    def memory(self) -> Memory:
        """The data that were given in memory; `as_dict` names them by their digest."""
        return self._memory

    def naming(self) -> AbstractContextManager[None]:
        """Let an error about one of this config's keys, or about the trunk, say where that was given."""
        return naming_trunk(self._origin, self.trunk.name)


def resolve_distillation(
    values: Any, where: str = "config", base: Path = Path("."), overrides: Sequence[str] = ()
) -> DistillConfig:
    """Check the mapping of a config; return it with defaults filled in and paths absolute.

    Args:
        values: as read from YAML or given in Python, where `data.train` and `data.validation` may be data themselves.
        where: how messages name it, usually the file.
        base: folder that relative paths are relative to, those of overrides excepted.
        overrides: what has been put into `values` already; messages about it name the override.

    Raises:
        BadInput: the first thing that is wrong, with its key.
    """
    origin = Origin(where, overrides)
    if not isinstance(values, dict):
        raise BadInput(where=origin, found=literal(values), expected="a mapping with the keys student and data")
    memory = Memory()
    values = memory.take_from(values, origin)
    refuse_extremes(values, origin, "")
    refuse_misplaced(values, origin, DistillConfig)
    config: DistillConfig = validate_section(DistillConfig, values, origin, "")
    config._origin, config._memory = origin, memory
    if config.trunk.dtype == "int8":
        raise BadInput(
            found="int8", expected="fp32 or bf16, as a teacher is not to round its states", **at(origin, "trunk.dtype")
        )

    def located(value: Any, key: str) -> Any:
        if isinstance(value, list):
            return [located(one, key) for one in value]
        if not isinstance(value, str):
            return value
        find = folder_or_name if key == "trunk.name" else locate
        try:
            return find(value, Path() if origin.override(key) else base)
        except (OSError, RuntimeError):  # longer than a path may be; a home directory of nobody
            raise BadInput(found=literal(value), expected="a path or a name", **at(origin, key)) from None

    config.trunk.name = located(config.trunk.name, "trunk.name")
    config.data.train = located(config.data.train, "data.train")
    config.data.validation = located(config.data.validation, "data.validation")
    return config


def load_distillation(path: str | Path, overrides: Sequence[str] = ()) -> DistillConfig:
    """Read a YAML file, apply `key.sub=value` overrides, and resolve it; paths in the file are relative to the file."""
    path = Path(path)
    values = read_values(path, overrides)
    if isinstance(values, dict) and "tasks" in values and "student" not in values:
        said = "found the config of a run, expected that of a distillation; trunkline fit takes it"
        raise BadInput(said, **at(Origin(str(path), overrides), "tasks"))
    return resolve_distillation(values, str(path), path.parent, overrides)
