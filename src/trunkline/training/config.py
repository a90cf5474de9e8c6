"""The config of a run, whole: the same names in YAML, on the command line (`key.sub=value`) and in Python.

Checked by pydantic before any work starts. An unknown key, a wrong type or a value out of range is one sentence that
names the file or the override, the key, what was found and what was expected (checking.py).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator, model_validator

from trunkline import branches, tasks, trackers
from trunkline.data.empty import EmptyTexts
from trunkline.data.formats import formats
from trunkline.errors import BadInput, TrunklineError, literal, unknown_name
from trunkline.files import distinct_names, safe_name
from trunkline.model.approach import approach_of
from trunkline.model.checking import DEEPEST, Origin, at, named_section, number, read_yaml, refuse_extremes, validate_section
from trunkline.tasks.labels import MissingList
from trunkline.training.hints import refuse_misplaced
from trunkline.training.memory import Memory
from trunkline.training.paths import locate_paths

Share = float
Weight = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)


class TrunkSection(Section):
    """Which transformer to read."""

    name: str = "minilm"  # embedded alias | hub id | path
    revision: str | None = None  # a commit of the hub, to pin it
    stack: Literal["encoder", "decoder"] = "encoder"  # for models that have both
    dtype: Literal["auto", "fp32", "bf16"] = "auto"  # of the trunk's computation; auto: the faster on this machine
    device: str = "auto"
    max_length: int | None = Field(None, ge=3)  # tokens; None: the trunk's longest input


class DataSection(Section):
    """Where the texts and labels come from. A share such as `10%` is drawn from `train` by the seed."""

    LATER: ClassVar[tuple[str, ...]] = ("weight", "format", "missing", "empty_texts", "unseen_labels")

    train: str | list[str]
    validation: str | list[str] | Share = "10%"
    test: str | list[str] | Share | None = None
    rows: int | None = Field(None, ge=1)  # train on this many rows, drawn by the seed; fewer are among more
    text: str = "text"  # the column with the text
    text_pair: str | None = None  # the column with the second text of a pair
    weight: str | None = None  # the column of `train` with what the loss of a row is multiplied by
    empty_texts: EmptyTexts = "skip"  # rows with no text: skipped and reported, or refused
    unseen_labels: Literal["count", "refuse"] = "count"  # of validation and test, that train does not have: errors, or refused
    format: str | None = None  # of the files, where their suffix does not say it
    missing: MissingList | None = None  # strings that stand for a missing value beside labels too; empty: none does

    @field_validator("format")
    @classmethod
    def _known_format(cls, value: str | None) -> str | None:
        if value is not None and value not in formats.names():
            raise ValueError(f"expected one of {', '.join(formats.names())}")
        return value

    @field_validator("validation", "test")
    @classmethod
    def _share(cls, value: object) -> object:
        if isinstance(value, str) and (match := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", value)):
            value = float(match[1]) / 100
        if isinstance(value, float) and not 0 < value < 1:
            raise ValueError("a share must lie between 0% and 100%")
        return value


class TrainingSection(Section):
    """How the weights are found. The same for every method, so that methods can be compared."""

    epochs: int = Field(10, ge=1)
    batch_tokens: int | None = Field(None, ge=8)  # padded tokens in a batch; None: by the training rows (fitting_tokens)
    batch_size: int | None = Field(None, ge=1)  # texts in a batch, instead of batch_tokens
    accumulation: int = Field(1, ge=1)  # batches per step of the optimiser
    optimizer: Literal["adamw", "adam"] = "adamw"
    learning_rate: float | None = Field(None, gt=0)  # at its peak; None: the method's own (its config's LEARNING_RATE)
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["one_cycle", "linear", "cosine", "plateau", "constant"] = "one_cycle"
    warmup: float = Field(0.1, ge=0, lt=1)  # share of all steps; one_cycle: share until the peak
    plateau_patience: int = Field(3, ge=1)  # evaluations without a better score before the rate is halved
    clip_norm: float | None = Field(1.0, gt=0)
    evaluate_every: Literal["epoch"] | int = "epoch"  # or a number of steps
    patience: int | None = Field(5, ge=1)  # evaluations without a better score before a task stops; None: never
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # of the side branches; auto: as the trunk
    states: Literal["auto", "store", "live"] = "auto"
    states_dtype: Literal["bf16", "fp32", "int8"] = "bf16"
    states_budget_gb: float | None = Field(None, gt=0, le=1e9)
    seed: int = Field(0, ge=0, lt=2**32)  # as numpy takes it
    # How tasks share a trunk that a tuner changes. Side branches do not change theirs, so they are always separate.
    regime: Literal["separate", "joint", "sequential", "fusion"] = "separate"
    mixing: Literal["rows", "proportional", "sqrt", "temperature", "uniform"] = (
        "rows"  # joint: all tasks of a row, or one a batch
    )
    temperature: float = Field(2.0, ge=1)  # of mixing: temperature: tasks are drawn in proportion to size^(1 / temperature)
    loss_weights: Literal["uncertainty"] | dict[str, Weight] | None = None  # joint: of each task's loss, 1 by default
    order: list[str] | Literal["all"] | None = None  # sequential: of the tasks, as given by default; all: every order in turn

    @model_validator(mode="after")
    def _one_batch_measure(self) -> TrainingSection:
        if self.batch_size is not None and self.batch_tokens is not None:
            raise ValueError("give batch_tokens or batch_size, not both")
        return self

    @field_validator("evaluate_every")
    @classmethod
    def _positive(cls, value: object) -> object:
        if isinstance(value, int) and value < 1:
            raise ValueError("expected 'epoch' or a number of steps of at least 1")
        return value


class RunConfig(Section):
    """One training, resolved: what `config.yaml` in a run's directory holds."""

    ALSO: ClassVar[tuple[str, ...]] = ("preset",)  # a key that is gone once the config is resolved

    trunk: TrunkSection = TrunkSection()
    data: DataSection
    tasks: dict[str, Any] = Field(min_length=1)  # name -> the Config of its kind
    method: Any = {"name": "adalayers"}  # the Config of a method
    training: TrainingSection = TrainingSection()
    trackers: list[Any] = []  # the Config of each: where the run's events are kept
    _origin: Origin = PrivateAttr(Origin("config"))
    _memory: Memory = PrivateAttr(default_factory=Memory)

    @field_validator("trunk", mode="before")
    @classmethod
    def _trunk_name(cls, value: object) -> object:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("method", mode="before")
    @classmethod
    def _method_name(cls, value: object) -> object:
        if isinstance(value, dict):  # `method: {dim: 64}` changes the default one
            return {"name": "adalayers", **value}
        return {"name": value} if isinstance(value, str) else value

    @field_validator("trackers", mode="before")
    @classmethod
    def _tracker_names(cls, value: object) -> object:
        value = [value] if isinstance(value, (str, dict)) else value
        return [{"name": one} if isinstance(one, str) else one for one in value] if isinstance(value, list) else value

    def identity(self, older: bool = False) -> str:
        """sha256 (hex) of what the result depends on: not the device, nor where the run is tracked.

        With `older`, the one of runs from before the device was left out.
        """
        values = self.as_dict()
        del values["trackers"]
        _leave_out_later(self.data, values["data"])
        for name, task in self.tasks.items():
            _leave_out_later(task, values["tasks"][name])
            if task.data is not None:
                _leave_out_later(task.data, values["tasks"][name]["data"])
        if not older:
            values["trunk"]["device"] = "auto"
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        """The resolved config as plain JSON-able values, defaults included."""
        return self.model_dump(mode="json")

    @property
    def memory(self) -> Memory:
        """The data that were given in memory; no part of what `as_dict` holds, which names them by their digest."""
        return self._memory

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Let an error about one of this config's keys, or about the trunk, say where that was given.

        What does not fit the data or the trunk is found by lower packages, which know keys and no file.
        """
        try:
            yield
        except TrunklineError as error:
            key = error.key
            if not key or error.where or (key == "trunk" and not error.found.startswith(repr(self.trunk.name))):
                raise
            if key == "trunk":
                key = "trunk.name"
            elif key in TrunkSection.model_fields:  # the trunk is asked for its settings by plain names
                key = f"trunk.{key}"
            raise error.at(self._origin.of(key), key) from None


def _refuse_texts(name: str, task: BaseModel, data: DataSection, where: Origin) -> None:
    """Raise BadInput for a task whose labels are the texts themselves: they would be named, and nothing is learned of them."""
    for key in ("label", "labels", "target"):
        column = getattr(task, key, None)
        if isinstance(column, str) and column in (data.text, data.text_pair) and not getattr(task, "separator", None):
            expected = "a column of labels, or another one in data.text"
            raise BadInput(
                **at(where, f"tasks.{name}.{key}"), found=f"{literal(column)}, the column of the texts", expected=expected
            )


def _leave_out_later(section: BaseModel, values: dict[str, Any]) -> None:
    """Drop the keys that earlier versions did not have, where they say nothing: their runs keep their identity."""
    for key in getattr(section, "LATER", ()):
        if values[key] == type(section).model_fields[key].default:
            del values[key]


def resolve(
    values: dict[str, Any],
    where: str = "config",
    base: Path = Path("."),
    overrides: list[str] | tuple[str, ...] = (),
) -> RunConfig:
    """Check `values` (the YAML's mapping) and return the whole config, defaults filled in and paths absolute.

    Args:
        values: the mapping as read from YAML or given in Python; there, train, validation and test of a data section may also
            be data themselves (data/memory.py).
        where: how messages name it, usually the file.
        base: folder that relative paths are relative to, those of overrides excepted.
        overrides: what `override` has put into `values`; messages about it name the override instead.

    Raises:
        BadInput: the first thing that is wrong, with its key.
    """
    where = origin = Origin(where, overrides)
    if not isinstance(values, dict):
        raise BadInput(where=where, found=literal(values), expected="a mapping with the keys data and tasks")
    memory = Memory()
    values = memory.take_from(values, where)
    refuse_extremes(values, where, "")
    values = _with_preset(values, where)
    refuse_misplaced(values, where, RunConfig)
    config = validate_section(RunConfig, values, where, "")
    config._origin, config._memory = origin, memory
    config.method = named_section(config.method, "name", branches.methods, where, "method")
    approach_of(config.method).resolve_head(config.method, where)
    if config.training.learning_rate is None:
        config.training.learning_rate = config.method.LEARNING_RATE
    for name in config.tasks:
        safe_name(name, f"{where}: tasks")
    distinct_names(config.tasks, f"{where}: tasks")
    named = {name: named_section(task, "kind", tasks.kinds, where, f"tasks.{name}") for name, task in config.tasks.items()}
    config.tasks = named
    for name, task in config.tasks.items():
        if task.data is not None:
            task.data = validate_section(DataSection, task.data, where, f"tasks.{name}.data")
        _refuse_texts(name, task, task.data or config.data, where)
    config.trackers = [
        named_section(one, "name", trackers.trackers, where, f"trackers.{number}") for number, one in enumerate(config.trackers)
    ]
    locate_paths(config, origin, base)
    return config


def load_config(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> RunConfig:
    """Read a YAML file, apply `key.sub=value` overrides, and resolve it.

    Paths in the file are relative to the file; paths in overrides are relative to the working directory.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file; expected a YAML config") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot be read as UTF-8 text ({type(error).__name__})") from None
    values = read_yaml(text, str(path))
    if isinstance(values, dict):
        values = override(values, overrides)
    return resolve(values, str(path), path.parent, overrides)


def override(values: dict[str, Any], overrides: list[str] | tuple[str, ...]) -> dict[str, Any]:
    """Return a copy of `values` with every `key.sub=value` applied in turn; values are read as YAML.

    Raises:
        BadInput: no such pair, not YAML, or one that undoes another by replacing the section that it has set a key of.
    """
    values = _copied(values)
    for count, text in enumerate(overrides):
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise BadInput(f"override {text!r}: expected key.sub=value, e.g. training.epochs=5")
        if undone := next((other for other in overrides[:count] if other.startswith(f"{key}.")), None):
            raise BadInput(f"override {text!r}: replaces what the override {undone!r} has set; give it first")
        parsed = number(read_yaml(value, f"override {text!r}", key))
        *parents, last = key.split(".")
        place = values
        for parent in parents:
            inner = place.get(parent)
            if isinstance(inner, str) and parent in ("method", "trunk"):
                inner = {"name": inner}
            elif inner is None:
                inner = {}
            elif not isinstance(inner, dict):
                raise BadInput(f"override {text!r}: {parent} is not a section, so it has no key {last!r}")
            place[parent] = inner
            place = inner
        if last in ("method", "trunk") and not parents and isinstance(parsed, str):
            parsed = {"name": parsed}
        place[last] = parsed
        _replace_measure(place, key, parsed, overrides[:count])
    return values


def _copied(values: Any, depth: int = 0) -> Any:
    """The same sections, which may be changed; what they hold is not copied, as it may be a data set."""
    if type(values) is not dict or depth > DEEPEST:  # which may hold itself, and is refused later
        return values
    return {key: _copied(value, depth + 1) for key, value in values.items()}


MEASURES = {"batch_tokens": "batch_size", "batch_size": "batch_tokens"}  # of a batch: one or the other


def _replace_measure(section: dict[str, Any], key: str, value: Any, before: Sequence[str]) -> None:
    """Drop the other measure of a batch from `section` where an override has set `key`, unless one before it has set that."""
    other = MEASURES.get(key.removeprefix("training.")) if key.startswith("training.") else None
    if other and value is not None and not any(text.startswith(f"training.{other}=") for text in before):
        section.pop(other, None)


def presets() -> dict[str, Path]:
    """By name, the files of the presets."""
    return {file.stem: file for file in (Path(__file__).parent / "presets").glob("*.yaml")}


def _with_preset(values: dict[str, Any], where: str) -> dict[str, Any]:
    """Fill in what `preset: NAME` stands for under what the config says itself."""
    if "preset" not in values:
        return values
    values, known = dict(values), presets()
    name = values.pop("preset")
    if not isinstance(name, str) or name not in known:
        raise unknown_name(found=name, known=known, **at(where, "preset"))
    preset = yaml.safe_load(known[name].read_text(encoding="utf-8"))
    for section, content in preset.items():
        own = values.get(section) or {}
        if section == "method" and isinstance(own, str):
            own = {"name": own}
        if section == "training":  # the measure of a batch that the config gives replaces that of the preset
            content = {key: value for key, value in content.items() if own.get(MEASURES.get(key, "")) is None}
        values[section] = {**content, **own} if own.get("name", content.get("name")) == content.get("name") else own
    return values
