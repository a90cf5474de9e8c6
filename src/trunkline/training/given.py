"""What `fit` may be given in Python, made a config: a YAML file or its mapping, a data file, or data in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from trunkline.data.columns import Missing
from trunkline.data.guess import Guess, guess_columns
from trunkline.data.guess.decision import columns_of
from trunkline.data.memory import EXPECTED, holds_texts, is_column, is_data, is_splits, split_tables, table_of
from trunkline.data.sources import read_table
from trunkline.data.table import Table
from trunkline.errors import BadInput, shown
from trunkline.training.config import RunConfig, load_config, resolve
from trunkline.training.guessed import METHOD, config_for, missing_in, run_name
from trunkline.training.hints import refuse_other_config
from trunkline.training.keywords import AS_MAPPING, column_name, column_names, overrides_of, refuse_texts
from trunkline.training.overrides import override

CONFIG_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class Given:
    """A config and the name of its run; how the columns were interpreted where the config was made from data alone."""

    config: RunConfig
    name: str | None = None
    sentences: tuple[str, ...] = ()


class Guessed(NamedTuple):
    """What was made of data alone: the mapping of a config, how its columns were interpreted, and what is to be noticed."""

    values: dict[str, Any]
    sentences: list[str]
    findings: list[str]


def config_of(given: Any, overrides: Any = (), **keywords: Any) -> Given:
    """Return the config that `given` stands for.

    Args:
        given: see `fit`.
        overrides: see `fit`.
        keywords: text, label, tasks, missing, method, validation and test of `fit`, for data alone; `form`, the
            format of its file.

    Raises:
        BadInput: what is none of these, or a keyword beside a config.
    """
    keywords = {key: value for key, value in keywords.items() if value is not None}
    overrides = overrides_of(overrides)
    is_path = isinstance(given, str | PathLike)
    if is_path and Path(given).suffix.lower() in CONFIG_SUFFIXES:
        _refuse(keywords, Path(given).name)
        return Given(load_config(given, overrides), Path(given).stem)
    if isinstance(given, RunConfig):
        _refuse(keywords | ({"overrides": overrides} if overrides else {}), "a resolved config")
        return Given(given)
    if isinstance(given, Mapping) and not given:
        raise BadInput(f"fit: found an empty mapping, expected a config or data; {AS_MAPPING}")
    if isinstance(given, Mapping) and not is_data(given) and not is_splits(given) and not _has_columns(given):
        _refuse(keywords, "a config")
        values = override(dict(given), overrides)
        refuse_other_config(values, "config")
        return Given(resolve(values, overrides=overrides))
    refuse_texts(given, keywords.get("label"))
    if is_path:
        table = read_table(str(given), format=keywords.get("form"))
        return _guessed(str(given), table, run_name(str(given)), overrides, **keywords)
    if isinstance(given, list) and given and all(isinstance(one, str) for one in given):
        return _guessed(given, read_table(given), run_name(given), overrides, **keywords)
    if is_splits(given):
        splits, _ = split_tables(given, "data")
        return _guessed(given, table_of(splits["train"], "data.train"), None, overrides, **keywords)
    if is_data(given) or isinstance(given, Mapping):
        table = table_of(given, "data.train")
        try:
            return _guessed(table, table, None, overrides, **keywords)
        except BadInput as error:
            if holds_texts(getattr(given, "index", None)):
                raise BadInput(f"{error}; the index is no column, frame.reset_index() makes it one") from None
            raise
    texts = f"; {AS_MAPPING}" if is_column(given) else ""
    raise BadInput(f"fit: found {type(given).__name__}, expected a YAML file, its mapping, or data: {EXPECTED}{texts}")


def _has_columns(given: Mapping[Any, Any]) -> bool:
    """Whether a mapping is of columns, not all of them well-formed, rather than a config."""
    return not {*RunConfig.model_fields, *RunConfig.ALSO} & given.keys() and any(map(is_column, given.values()))


def _refuse(keywords: Mapping[str, Any], what: str) -> None:
    if keywords:
        *most, last = keywords
        names = f"{', '.join(most)} and {last}" if most else last
        raise BadInput(f"{names}: given together with {what}; expected only with data, as a config defines it")


def _guessed(source: Any, table: Table, name: str | None, overrides: list[str], **keywords: Any) -> Given:
    """The config of data that came without one."""
    guessed = guess_values(source, table, overrides, **keywords)
    where = source if isinstance(source, str) else "config"
    config = resolve(override(guessed.values, overrides), where, overrides=overrides)
    config.memory.findings += guessed.findings
    return Given(config, name or "data", tuple(guessed.sentences))


def guess_values(
    source: Any,
    table: Table,
    overrides: list[str],
    *,
    text: Any = None,
    label: Any = None,
    tasks: Mapping[str, Any] | None = None,
    missing: str | Sequence[str] | None = None,
    method: Any = None,
    validation: Any = None,
    test: Any = None,
    form: str | None = None,
) -> Guessed:
    """The mapping of a config for data that came without one, before its overrides are applied.

    Args:
        source: as the config names it.
        table: what it holds.
        overrides: what they say of the data is heeded.
        text, label, tasks, missing, method, validation, test, form: as of `config_of`.
    """
    if label is not None and tasks is not None:
        raise BadInput("label: given together with tasks, expected one of them")
    said = override({"data": {}}, [one for one in overrides if one.startswith("data.")])["data"]
    if said.get("audio") is not None:
        raise BadInput(
            "data.audio: found with data alone, whose columns are guessed for texts; expected it in a config with tasks"
        )
    if text is not None:
        text = column_name(text, "text")
        text = None if table.read_as.get(text) == "tokens" else text  # the words of tags, which are found by themselves
    if text is not None:
        table.column(text, "text")
    elif said.get("text") in table.columns:
        text = said["text"]
    words = missing_in(overrides) if missing is None else _words(missing)
    aside = {said.get(key): key for key in ("text_pair", "weight") if said.get(key) in table.columns}
    looked_at = replace(table, columns={name: values for name, values in table.columns.items() if name not in aside})
    guess = _restricted(looked_at, text, label, words) if tasks is None else _with_tasks(looked_at, text, words)
    values = config_for(guess, source, len(table), form)
    if missing is not None:
        values["data"]["missing"] = words
    if method is not None:
        values["method"] = method if method != METHOD["name"] else METHOD
    sentences = [*table.sourced_findings(), *guess.sentences, *filter(None, [guess.together])]
    sentences += (f"{shown(name, whole=True)} is read as data.{key}." for name, key in aside.items())
    if tasks is not None:
        values["tasks"] = tasks
    splits: dict[str, Any] = {}
    if is_splits(source):
        splits, _ = split_tables(source, "data")
        values["data"]["train"] = {**source, "train": table}
        if "test" in splits and _unlabelled(table_of(splits["test"], "data.test"), values["tasks"]):
            splits["test"] = None  # as of many shared tasks, whose labels are kept back
            sentences.append("The test split has no labels, so it is not scored.")
    for split, own in (("validation", validation), ("test", _no_split(test))):
        if own is not None or split in splits:
            values["data"][split] = splits.get(split) if own is None else own
    if test is False:
        values["data"]["test"] = None
    if isinstance(validation, bool):
        raise BadInput(
            f"validation: found {validation}, expected data or a share such as '10%': the best weights are chosen on it"
        )
    return Guessed(values, sentences, [*guess.remarkable, *filter(None, [guess.together])])


def _no_split(test: Any) -> Any:
    """What `test` stands for, None where it is False. BadInput for True."""
    if test is True:
        raise BadInput("test: found True, expected data, a share such as '10%', or False for no test split")
    return None if test is False else test


def _words(missing: str | Sequence[str]) -> list[str]:
    """The strings that stand for a missing value. BadInput for anything else."""
    words = [missing] if isinstance(missing, str) else missing
    if not isinstance(words, list | tuple | set | frozenset) or not all(isinstance(word, str) for word in words):
        raise BadInput(
            "missing: expected a string or a list of strings that stand for a missing value; None and NaN always are missing"
        )
    return sorted(words) if isinstance(words, set | frozenset) else list(words)


def _with_tasks(table: Table, text: str | None, missing: Missing) -> Guess:
    """What of a guess is left to be made where the tasks are given: the column of the texts."""
    if text is not None:
        return Guess(text, None, {}, [])
    try:
        found = guess_columns(table, missing=missing)
    except BadInput:  # none that looks like a task; the column of the texts may still be called as a config expects it
        return Guess(None, None, {}, [])
    return Guess(found.text, found.text_pair, {}, [one for one in found.decisions if one.role.startswith("text")])


def _restricted(table: Table, text: str | None, label: Any, missing: Missing) -> Guess:
    """A guess about all columns, or about those named as labels."""
    names = [table.read_as.get(name, name) for name in column_names(label, table)]
    for name in names:
        if table.column(name, "label") and name == text:
            raise BadInput(f"label: found {name!r}, which is the column of the texts; expected another one")
    return guess_columns(table, text, missing, names)


def _unlabelled(table: Table, tasks: Mapping[str, Any]) -> bool:
    """Whether no row has an answer for any task."""
    columns = [name for section in tasks.values() if isinstance(section, Mapping) for name in columns_of(section)]
    return bool(columns) and all(value is None for name in columns for value in table.columns.get(name, ()))
