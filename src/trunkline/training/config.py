"""The config of a run, whole: the same names in YAML, on the command line (`key.sub=value`) and in Python.

Checked by pydantic before any work starts. An unknown key, a wrong type or a value out of range is one sentence that
names the file or the override, the key, what was found and what was expected (checking.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import yaml
from pydantic import BaseModel, Field, PrivateAttr, field_validator

from trunkline import branches, tasks, trackers
from trunkline.data.table import Table
from trunkline.errors import BadInput, TrunklineError, literal, unknown_name
from trunkline.files import distinct_names, refuse_long, safe_name
from trunkline.model.approach import approach_of
from trunkline.model.checking import Origin, at, named_section, refuse_extremes, validate_section
from trunkline.model.config_yaml import read_yaml
from trunkline.training.hints import refuse_misplaced, refuse_other_config
from trunkline.training.memory import Memory
from trunkline.training.overrides import MEASURES, override
from trunkline.training.paths import locate_paths
from trunkline.training.sections import DataSection, Section, TrainingSection, TrunkSection


class RunConfig(Section):
    """One training, resolved: what `config.yaml` in a run's directory holds."""

    ALSO: ClassVar[tuple[str, ...]] = ("preset",)  # a key that is gone once the config is resolved

    trunk: TrunkSection = TrunkSection()
    data: DataSection
    tasks: dict[str, Any] = Field(min_length=1)  # name -> the Config of its kind
    method: Any = Field({"name": "adalayers"})  # the Config of a method
    training: TrainingSection = TrainingSection()
    trackers: list[Any] = Field([])  # the Config of each: where the run's events are kept
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
        _leave_out_later(self.trunk, values["trunk"])
        _leave_out_later(self.data, values["data"])
        _leave_out_later(self.method, values["method"])
        _leave_out_later(self.training, values["training"])
        for key in self.training.ANY:
            del values["training"][key]
        if isinstance(head := getattr(self.method, "head", None), BaseModel):  # of a tuner
            _leave_out_later(head, values["method"]["head"])
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

    def keeping(self, kept: dict[str, Table]) -> RunConfig:
        """The same config, whose sources are read once for all that share `kept`, which holds their tables."""
        other = self.model_copy()
        other._memory = replace(self._memory, kept=kept)
        return other

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Let an error about one of this config's keys, or about the trunk, say where that was given.

        What does not fit the data or the trunk is found by lower packages, which know keys and no file.
        """
        with naming_trunk(self._origin, self.trunk.name):
            yield


@contextmanager
def naming_trunk(origin: Origin, trunk: str) -> Iterator[None]:
    """Let an error about a key of the config that comes from `origin`, or about its trunk, say where that was given."""
    try:
        yield
    except TrunklineError as error:
        key = error.key
        if not key or error.where or (key == "trunk" and not error.found.startswith(repr(trunk))):
            raise
        if key == "trunk":
            key = "trunk.name"
        elif key in TrunkSection.model_fields:  # the trunk is asked for its settings by plain names
            key = f"trunk.{key}"
        raise error.at(origin.of(key), key) from None


def _refuse_texts(name: str, task: BaseModel, data: DataSection, where: Origin) -> None:
    """Raise BadInput for a task whose labels are the texts themselves: they would be named, and nothing is learned of them."""
    for key in ("label", "labels", "target"):
        column = getattr(task, key, None)
        if isinstance(column, str) and column in (data.read, data.text_pair) and not getattr(task, "separator", None):
            expected = "a column of labels, or another one in data.text (text= in Python)"
            raise BadInput(
                **at(where, f"tasks.{name}.{key}"), found=f"{literal(column)}, the column of the texts", expected=expected
            )


def _refuse_windows(name: str, task: BaseModel, data: DataSection, where: Origin) -> None:
    """Raise BadInput for a task that is to read all windows of what is not divided into windows."""
    long_texts = getattr(task, "long_texts", "first")
    if long_texts != "first" and (data.text_pair is not None or data.audio is not None):
        what = "pairs of texts" if data.text_pair is not None else "audio clips"
        expected = f"first, as {what} are cut and not read in windows"
        raise BadInput(**at(where, f"tasks.{name}.long_texts"), found=long_texts, expected=expected)


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
        _refuse_windows(name, task, task.data or config.data, where)
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
    values = read_values(path, overrides)
    refuse_other_config(values, Origin(str(path), overrides))
    return resolve(values, str(path), path.parent, overrides)


def read_values(path: Path, overrides: Sequence[str] = ()) -> Any:
    """What a YAML file says once `key.sub=value` overrides are applied, not yet checked; BadInput where it cannot be read."""
    values = read_file(path, "a YAML config")
    return override(values, tuple(overrides)) if isinstance(values, dict) else values


def read_file(path: Path, expected: str) -> Any:
    """What a YAML file says; BadInput, with what was `expected`, where it cannot be read."""
    refuse_long(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if path.is_symlink():
            raise BadInput(f"{path}: found a link to {path.readlink()}, which does not exist; expected {expected}") from None
        raise BadInput(f"{path}: no such file; expected {expected}") from None
    except IsADirectoryError:
        raise BadInput(f"{path}: is a folder; expected {expected}") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); expected {expected}") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: cannot be read as UTF-8 text ({type(error).__name__})") from None
    return read_yaml(text, str(path))


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
