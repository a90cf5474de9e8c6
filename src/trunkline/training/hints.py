"""What a key that a config does not have was probably meant to be: a key of another section, or another library's name for one.

`epochs=3` is `training.epochs=3`, `lr` is `training.learning_rate`. A key that is only mistyped is left to the check of its
section.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from trunkline.branches import methods
from trunkline.errors import BadInput, ascii_controls, literal
from trunkline.model.checking import Origin, at
from trunkline.tasks import kinds

ENCODING = "files are read as UTF-8; convert the file"
SECTIONS = ("training", "data", "trunk")
# As transformers' TrainingArguments and example scripts, Keras and scikit-learn call them, and as people abbreviate them.
OTHER_NAMES = {
    "training.learning_rate": "lr learning_rate_init",
    "training.epochs": "n_epochs num_epochs num_train_epochs max_epochs nb_epochs",
    "training.batch_size": "bs batch per_device_train_batch_size train_batch_size",
    "training.accumulation": "gradient_accumulation gradient_accumulation_steps accumulate_grad_batches grad_accum",
    "training.patience": "early_stopping early_stopping_patience",
    "training.weight_decay": "wd",
    "training.seed": "random_state random_seed",
    "training.optimizer": "optim",
    "training.schedule": "scheduler lr_scheduler lr_scheduler_type",
    "training.warmup": "warmup_ratio warmup_steps",
    "training.clip_norm": "max_grad_norm grad_clip clip gradient_clip_val",
    "trunk.max_length": "max_len max_seq_length max_seq_len",
    "trunk": "model model_name model_name_or_path backbone encoder",
    "data.train": "train_file train_data train_path",
    "data.validation": "val dev valid eval validation_file validation_data eval_file dev_file val_file",
    "data.test": "test_file test_data",
    "data.text": "text_column text_col",
    "data.rows": "max_train_samples nrows n_rows limit",
}
_MEANT = {name: key for key, names in OTHER_NAMES.items() for name in names.split()}
# Keys that only other configs have: whose they are, and the command that takes them.
_ELSEWHERE = {"methods": ("study", "compare"), "study": ("study", "compare"), "sweep": ("sweep", "sweep")}
_ELSEWHERE |= {"student": ("distillation", "distill")}
_IN_PYTHON = ("compare", "distill")  # commands that are functions of the same name, too
# Options of other command lines that are not keys here.
_OPTIONS = {"output": "--run-dir", "output_dir": "--run-dir", "out": "--run-dir", "overwrite": "--fresh", "force": "--fresh"}


def refuse_other_config(values: object, where: str) -> None:
    """Raise BadInput for the config of a study, a sweep or a distillation, and name what takes it: a command, or Python."""
    for key, (what, command) in _ELSEWHERE.items():
        if isinstance(values, dict) and key in values:
            takes = f"trunkline {command}" + (f" or, in Python, trunkline.{command}" if command in _IN_PYTHON else "")
            said = f"found the config of a {what}, expected that of a run; {takes} takes it"
            raise BadInput(said, **at(where, key))


def refuse_misplaced(values: Mapping[str, Any], where: str, model: type[BaseModel]) -> None:
    """Raise BadInput for the first key of `values` that belongs to another place of the config, and name that place.

    Args:
        values: the config as it was given.
        where: how messages name it.
        model: of the whole config.
    """
    sections = {"": values, **{name: values.get(name) for name in (*_sections(model), "method")}}
    if isinstance(tasks := values.get("tasks"), dict):
        sections |= {f"tasks.{name}": task for name, task in tasks.items()}
    for section, content in sections.items():
        for key in content if isinstance(content, dict) else ():
            if isinstance(key, str) and (meant := _meant(key, section, values, model)):
                place = f"{section}.{key}" if section else key
                if meant == ENCODING:
                    raise BadInput(f"there is no such key, as {meant}", **at(where, place))
                raise BadInput(f"unknown name {literal(key)}; did you mean {_typed(meant, place, where)}?", **at(where, place))


def _typed(meant: str, place: str, where: str) -> str:
    """A key as it is to be given: with its value if it was given in an override."""
    given, _, value = (where.override(place) or "").partition("=") if isinstance(where, Origin) else ("", "", "")
    return ascii_controls(f"{meant}={value}" if given == place else repr(meant))


def _meant(key: str, section: str, values: Mapping[str, Any], model: type[BaseModel]) -> str | None:
    """The key, from the root of the config, that `key` in `section` was meant to be; None if it is right, or mistyped."""
    leaves = known_keys(values, model)
    own = {path.rpartition(".")[2] for path in leaves if path.rpartition(".")[0] == section}
    own |= {"name", "kind"} if section else set(getattr(model, "ALSO", ()))
    word = key.lower().replace("-", "_")
    if key in own:
        return None
    if word in ("encoding", "charset") and section in ("", "data"):
        return ENCODING
    candidates = [path for path in leaves if path.rpartition(".")[2] == word and path.rpartition(".")[0] != section]
    if section == "method" or section.startswith("tasks."):  # other wrong keys are reported with those of the method or kind
        candidates = [path for path in candidates if path.partition(".")[0] in SECTIONS]
        return next(iter(candidates), None) or _MEANT.get(word)
    if candidates:
        return candidates[0]
    if _MEANT.get(word) in leaves:
        return _MEANT[word]
    if section or difflib.get_close_matches(word, own, n=1, cutoff=0.6):
        return None
    by_leaf = {path.rpartition(".")[2]: path for path in reversed(leaves)}
    near = difflib.get_close_matches(word, by_leaf, n=1, cutoff=0.75)
    return by_leaf[near[0]] if near else None


def known_keys(values: Mapping[str, Any], model: type[BaseModel]) -> list[str]:
    """The keys of a config, from its root: those of its sections first, then those of its method and of its tasks."""
    found = [f"{section}.{key}" for section in _sections(model) for key in _fields(model.model_fields[section].annotation)]
    if "method" in model.model_fields:
        found += [f"method.{key}" for key in _config_of(methods, values.get("method", "adalayers"), "name")]
    tasks = values.get("tasks")
    for name, task in tasks.items() if isinstance(tasks, dict) else ():
        found += [f"tasks.{name}.{key}" for key in _config_of(kinds, task, "kind")]
    return [*found, *_fields(model)]


def _sections(model: type[BaseModel]) -> list[str]:
    """The sections of a config with keys of their own, those first that every config has."""
    others = [name for name, field in model.model_fields.items() if name not in SECTIONS and _fields(field.annotation)]
    return [*SECTIONS, *others]


def _fields(model: Any) -> list[str]:
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _config_of(registry: Any, section: Any, key: str) -> list[str]:
    """The keys of the method or the kind that a section names; none if it names no known one."""
    name = section.get(key, "adalayers" if key == "name" else None) if isinstance(section, dict) else section
    known = isinstance(name, str) and (name := registry.known_as(name)) in registry.names()
    return [one for one in _fields(registry.get(name).Config) if one != key] if known else []


def option_hint(option: str, value: str | None) -> str | None:
    """What to type instead of an option that `trunkline fit` does not have, if it stands for a key of the config."""
    from trunkline.training.config import RunConfig

    key = option.lstrip("-").replace("-", "_")
    if key in _OPTIONS:
        return _OPTIONS[key]
    meant = key if key in RunConfig.model_fields else _meant(key, "", {}, RunConfig)
    if meant == ENCODING:
        return None
    return meant and f"{meant}={shlex.quote(value) if value is not None else 'VALUE'}"


def refuse_sources(source: str, others: list[str]) -> None:
    """Raise BadInput for what follows a source on the command line and is no `key=value`: a second file, say."""
    for text in others:
        if "=" in text:
            continue
        if not Path(text).exists():
            raise BadInput(f"{text}: expected key.sub=value after {source}, e.g. training.epochs=5")
        both = f"data.train=[{source}, {text}]"
        raise BadInput(
            f"{text}: found a second source after {source}; to test on it give --test {shlex.quote(text)}, to train on both "
            f"{shlex.quote(both)}"
        )
