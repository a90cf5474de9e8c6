"""What Python's `fit` is given besides its config or data: other spellings, and what to say of mistakes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from trunkline.data.formats import format_of
from trunkline.data.memory import is_column
from trunkline.data.sources import embedded_names
from trunkline.data.table import Table
from trunkline.errors import BadInput, literal
from trunkline.training.hints import option_hint

AS_MAPPING = "texts and their labels are given as a mapping: fit({'text': texts, 'label': labels})"
SECTIONS = ("training", "data", "trunk")  # whose keys are set one by one; a method or a task is set as a whole
MOST_SOURCES = 10  # more strings than that without a file among them are texts
_NAMES = {  # of an argument, and what it is called by other libraries and by people
    "label": "labels label_column label_col label_columns target targets target_column y y_train answers",
    "text": "texts text_column text_col text_field column x_column",
    "validation": "val dev valid validation_data eval eval_data validation_split validation_fraction",
    "test": "test_data test_split test_size",
    "run_dir": "output_dir out output dir path folder",
    "missing": "na_values missing_values",
}
_MEANT = {other: name for name, others in _NAMES.items() for other in others.split()}
_VALUES = {"overwrite": "fresh=True", "force": "fresh=True", "quiet": "progress=False", "verbose": "progress=True or False"}
_DATA = ("data", "train", "df", "X", "x", "dataset", "train_dataset", "frame")


def refuse_more(more: Sequence[Any], others: Mapping[str, Any]) -> None:
    """Raise TypeError for arguments that `fit` does not have, as Python does, with what works in their place."""
    if more:
        raise TypeError(f"fit() takes one positional argument, a config or data; {AS_MAPPING}")
    for name, value in others.items():
        raise TypeError(f"fit() has no argument {name!r}; {_instead(name, value)}")


def _instead(name: str, value: Any) -> str:
    if name in _VALUES:
        return f"give {_VALUES[name]}"
    if name in _DATA:
        return "data are the first argument, without a name"
    if name in _MEANT:
        return f"give {_MEANT[name]}=..."
    simple = isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= 40)
    hint = option_hint(name, None)
    if hint is None:
        return "expected one of those of help(trunkline.fit); overrides=['training.epochs=3'] changes a key of the config"
    key = hint.partition("=")[0]
    override = f"{key}={_as_yaml(value) if simple else '...'}"
    return f"give overrides=[{override!r}]"


def _as_yaml(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def overrides_of(overrides: Any) -> list[str]:
    """Return overrides as `key.sub=value`, of a list of such, a single one, or a mapping of keys to values.

    Raises:
        BadInput: none of these, or a value that YAML has not.
    """
    if isinstance(overrides, str):
        return [overrides]
    if isinstance(overrides, Mapping):
        return [f"{key}={_said(key, value)}" for key, value in _flat(overrides)]
    if isinstance(overrides, list | tuple) and all(isinstance(one, str) for one in overrides):
        return list(overrides)
    raise BadInput(
        f"overrides: found {_kind(overrides)}, expected a list such as ['training.epochs=3'] or a mapping such as "
        "{'training.epochs': 3}"
    )


def _flat(overrides: Mapping[Any, Any], within: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in overrides.items():
        key = f"{within}{key}"
        found += _flat(value, f"{key}.") if key in SECTIONS and isinstance(value, Mapping) else [(key, value)]
    return found


def _said(key: str, value: Any) -> str:
    plain = value.item() if hasattr(value, "item") and not hasattr(value, "columns") else value  # a number of numpy
    try:
        return json.dumps(str(plain) if isinstance(plain, PathLike) else plain)
    except (TypeError, ValueError):
        raise BadInput(
            f"overrides: {key}: found {_kind(value)}, expected a string, a number, true or false, or a list of these; data in "
            "memory are given as validation= and test=, or in a config"
        ) from None


def refuse_texts(given: Any, label: Any) -> None:
    """Raise BadInput for texts in the place of data, without showing any; `label` is what came with them."""
    strings = [given] if isinstance(given, str) else given
    if not isinstance(strings, list | tuple) or not strings or not all(isinstance(one, str) for one in strings):
        return
    if any(map(_is_source, strings)):
        return
    many = len(strings) > MOST_SOURCES or (label is not None and not isinstance(label, str | int) and len(strings) > 1)
    if many or any(len(one.split()) > 1 for one in strings):
        found = "a string" if isinstance(given, str) else f"a list of {len(strings):,} strings"
        raise BadInput(f"fit: found {found}, none of which names a file or a data set; {AS_MAPPING}")


def _is_source(name: str) -> bool:
    """Whether a string may be meant as the name of a source, though there need not be one."""
    try:
        there = Path(name).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # longer than any name
        there = False
    base = name.partition(":")[0]
    return there or (len(name) < 256 and "\n" not in name and (format_of(Path(name)) is not None or base in embedded_names()))


def column_name(name: Any, keyword: str) -> str:
    """Return the name of a column as tables have it: a string, also of a number. BadInput for the column itself, or else."""
    if isinstance(name, str):
        return name
    if hasattr(name, "item") and getattr(name, "ndim", None) == 0:  # a number of numpy
        name = name.item()
    if isinstance(name, int) and not isinstance(name, bool):
        return str(name)
    raise BadInput(f"{keyword}: found {_kind(name)}, expected the name of a column of the data; {AS_MAPPING}")


def column_names(names: Any, table: Table) -> list[str]:
    """Return the names of the columns of labels, each once. BadInput for the labels themselves."""
    if names is None:
        return []
    if getattr(names, "ndim", 0) == 1 and hasattr(names, "tolist"):  # an array, an Index
        names = names.tolist()
    if isinstance(names, list | tuple):
        if len(names) > len(table.columns):
            raise BadInput(
                f"label: found a list of {len(names):,} values, but {table.source} has {len(table.columns):,} columns; "
                f"expected the names of columns; {AS_MAPPING}"
            )
        return list(dict.fromkeys(column_name(name, "label") for name in names))
    return [column_name(names, "label")]


def _kind(value: Any) -> str:
    return type(value).__name__ if is_column(value) or hasattr(value, "columns") else literal(value)
