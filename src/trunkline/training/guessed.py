"""The config for a data set that came without one: as a mapping to train with, and as commented YAML to edit.

Both say the same (a test holds them together): how data/guess/ interprets the columns, and defaults that suit most data.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from trunkline.data.guess import Guess
from trunkline.training.overrides import override

# Names of files and folders that say what the data is for, and not what it is about.
_OF_ANY = re.compile(
    r"(train(ing)?|dev|valid(ation)?|test|data(set)?)([-_ ]?(data(set)?|set|split|\d+(-of-\d+)?))*", re.IGNORECASE
)
METHOD = {"name": "adalayers", "dim": 128, "alpha": 16, "cutoff": 0.01}


def training_for(rows: int) -> dict[str, Any]:
    """Epochs for a training set of this size: little data needs more. Batches and rates are chosen when a run begins."""
    epochs = 8 if rows >= 10_000 else 12 if rows >= 3_000 else 20 if rows >= 1_000 else 30
    return {"epochs": epochs, "patience": 5, "seed": 0}


def missing_in(overrides: Sequence[str]) -> list[str] | None:
    """The strings that overrides say stand for a missing value, which the columns are to be looked at with."""
    found = override({"data": {}}, [text for text in overrides if text.startswith("data.missing=")])["data"].get("missing")
    found = [found] if isinstance(found, str) else found
    return found if isinstance(found, list) and all(isinstance(one, str) for one in found) else None


def config_for(guess: Guess, train: str, rows: int, form: str | None = None) -> dict[str, Any]:
    """Return the config as a mapping; `train` is the source as the config is to name it, `form` its format if that was said."""
    found = guess.config(train)
    if form is not None:
        found["data"]["format"] = form
    return {
        "trunk": "minilm",
        "data": {**found["data"], "validation": "10%", "test": "10%"},
        "tasks": {name: {**task, "crf": True} if task["kind"] == "token" else task for name, task in found["tasks"].items()},
        "method": METHOD,
        "training": training_for(rows),
    }


def commented(guess: Guess, train: str, rows: int, name: str, form: str | None = None) -> str:
    """Return the same config as YAML with comments that explain the alternatives; `name` is the file it will be."""
    values = config_for(guess, train, rows, form)
    data, training = values["data"], values["training"]
    lines = [
        "# Written by `trunkline init`; edit it as needed, then:",
        f"#     trunkline fit {shlex.quote(name)}",
        "# Every key: docs/config.md. A mistyped key is an error that names the nearest known one.",
        "",
        "# The transformer whose layers are read and never changed: minilm (22M weights, English, fast), an id of the",
        "# Hugging Face hub such as FacebookAI/roberta-large or FacebookAI/xlm-roberta-base (100 languages), or a folder.",
        "# A larger one is usually better, and slower.",
        f"trunk: {values['trunk']}",
        "",
        "data:",
        "  # A file, a list of files, an embedded name or a hub id; relative to this file.",
        _entry("train", data["train"]),
        "  # A share of train, drawn by the seed, or a source of its own. The weights that do best on it are kept.",
        _entry("validation", data["validation"]),
        "  # The same, or omit it. Scored once, at the end.",
        _entry("test", data["test"]),
    ]
    if form is not None:
        lines += ["  # The files' format, as their suffix does not imply it.", _entry("format", form)]
    columns = {decision.column: decision for decision in guess.decisions}
    for key in ("text", "text_pair"):
        if key in data:
            lines += [f"  # {columns[data[key]].sentence}", _entry(key, data[key])]
        elif key == "text_pair":
            lines.append("  # text_pair: COLUMN   # the second text, for pairs of texts")
    lines += [
        "",
        "# What to predict: a name of your choice for each task, and its kind and columns. All tasks train in one pass.",
    ]
    lines.append("tasks:")
    for task, section in values["tasks"].items():
        own = [section[key] for key in ("tags", "spans", "labels", "label", "target") if isinstance(section.get(key), str)]
        if own and own[0] in columns:
            lines.append(f"  # {columns[own[0]].sentence}")
        amounts = bool(own) and own[0] in columns and columns[own[0]].amounts
        lines += [f"  # {line}" for line in _alternatives(section, amounts)]
        lines.append(_entry(task, section))
    if guess.joined:
        lines.append("  # To make the columns of 0 and 1 the labels of one task, remove their tasks above and uncomment this.")
        if any("blanks" in section for section in guess.joined.values()):
            lines.append("  # blanks: 0 reads a blank as 0; without it every row with a blank is skipped.")
        block = yaml.safe_dump(guess.joined, sort_keys=False, allow_unicode=True, width=10**9)
        lines += [f"  # {line}" for line in block.splitlines()]
    unused = [decision for decision in guess.decisions if decision.role == "unused"]
    lines += [f"  # {decision.sentence}" for decision in unused]
    lines += [
        "",
        "# How the layers are read. adalayers learns a distribution over all of them; probe, single_layer and scalar_mix",
        "# are simpler. See docs/methods.md.",
        "method:",
        "  name: adalayers",
        "  # Width of the side branch: 64 is smaller and faster, 256 may be better on much data.",
        _entry("dim", values["method"]["dim"]),
        "  # Sharpness of the softmax over layers.",
        _entry("alpha", values["method"]["alpha"]),
        "  # Layers with a smaller share than this are not read at all: 0.05 makes a faster branch, 0 reads them all.",
        _entry("cutoff", values["method"]["cutoff"]),
        "",
        "training:",
        "  # Passes over the data at most. More may help where there is little of it.",
        _entry("epochs", training["epochs"]),
        "  # Stop after this many evaluations, one an epoch, without a better validation score; null never does.",
        _entry("patience", training["patience"]),
        "  # learning_rate: 1e-3   # by default that of the method; more where the loss falls slowly, less where it jumps",
        "  # batch_tokens: 1024    # tokens in a batch, padding included; by default chosen from the training rows",
        _entry("seed", training["seed"]),
    ]
    return "\n".join(lines) + "\n"


def _entry(key: str, value: Any) -> str:
    shown = yaml.safe_dump({key: value}, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**9)
    return "  " + shown.strip()[1:-1]  # "{key: value}" without its braces: one line whatever the value


def _alternatives(section: dict[str, Any], amounts: bool) -> list[str]:
    """What else this column could be, for the comment above its task; amounts: whether its values are numbers."""
    if section["kind"] == "sequence" and amounts:
        return ["If its values are amounts rather than names: {kind: regression, target: COLUMN}."]
    if section["kind"] == "regression":
        return ["If its values are names rather than amounts: {kind: sequence, label: COLUMN}."]
    if section["kind"] == "token":
        return ["crf: tags are chosen together rather than word by word; it is much better where spans are long."]
    return []


def run_name(source: str | list[str]) -> str:
    """A name for a run on `source`, without folder, split and suffixes: ``"data/reviews.csv.gz"`` is ``"reviews"``.

    A file with a name such as ``train.csv`` or ``data.json`` gives the name of its folder; several files give the common
    beginning of their names, or the name of the first.
    """
    if isinstance(source, str):
        return _own_name(source)
    names = [_own_name(one) for one in source]
    same = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    common = re.sub(r"[\W_\d]+$", "", "".join(letters[0] for letters in same))
    return common if len(common) > 2 else names[0]


def _own_name(source: str) -> str:
    path = Path(source).expanduser()
    if not path.exists():
        folder, _, _ = source.split("@")[0].rpartition(":")
        if not folder or not Path(folder).expanduser().is_dir():  # an embedded set, or one of the hub
            return source.split("@")[0].split(":")[0].rstrip("/").split("/")[-1].split(".")[0] or "data"
        path = Path(folder).expanduser()
    names = [part.split(".")[0] for part in (path.name or path.resolve().name, *reversed(path.resolve().parts[1:-1]))]
    return next((name for name in names[:3] if name and not _OF_ANY.fullmatch(name)), names[0] or "data")


def relative(source: str, folder: Path) -> str:
    """A source as a config in `folder` names it."""
    path, part = Path(source).expanduser(), ""
    if not path.exists():
        file, colon, name = source.rpartition(":")
        path, part = Path(file).expanduser(), f":{name}"
        if not colon or not path.exists():
            return source  # an embedded or hub name
    found = Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    return (found if found.startswith("..") or "/" in found or "." in found else f"./{found}") + part
