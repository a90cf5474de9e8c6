"""From the name of a trunk to a folder on disk that is fit to be loaded: an alias, a local path or a hub id.

Only safetensors weights are accepted (a pickle can run code when it is read), and nothing here runs code from a folder.
"""

from __future__ import annotations

import difflib
import functools
import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import is_offline_mode, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError, safe_open

from trunkline.errors import BadInput, TrunklineError
from trunkline.files import sha256_file
from trunkline.trunk.aliases import ALIASES, Alias

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
# Configuration, tokenizer and safetensors at the top of a repository; its other formats and exports stay where they are.
_WANTED = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
_UNWANTED = ["*/*", "consolidated*", "optimizer*"]
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
# What a hub id never ends in, and a mistyped file may.
_SUFFIXES = (".yaml", ".yml", ".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt", ".gz", ".parquet", ".conll", ".safetensors")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
_FLOATS = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


@dataclass(frozen=True)
class Source:
    """A trunk's files: `name` as a branch records it, the hub's commit (None for folders and aliases), and the folder."""

    name: str
    revision: str | None
    folder: Path


def find_source(name: str | Path, revision: str | None = None) -> Source:
    """Find the folder of a trunk; download it if it is on the hub and not yet in the hub's cache.

    Args:
        name (str | Path): an alias, a path to a folder, or a hub id ("owner/name"), tried in this order.
        revision (str | None): a hub id's commit, tag or branch; None takes the newest.

    Raises:
        BadInput: no such alias, folder or repository, or none in the hub's cache while HF_HUB_OFFLINE keeps the hub off; a
            revision of something that has none; an altered alias.
        TrunklineError: no such folder, the hub cannot be reached and its cache has no copy.
    """
    text = str(name)
    if text in ALIASES and not isinstance(name, Path):
        if revision is not None:
            raise BadInput(f"found revision {revision!r}, but aliases are pinned; expected none", key="trunk", found=repr(text))
        return Source(text, None, _alias_folder(text, ALIASES[text]))
    path = Path(name).expanduser()
    if text and path.is_dir():
        if revision is not None:
            raise BadInput(f"{path}: found revision {revision!r}, but folders have no revisions; expected none")
        return Source(str(path.resolve()), None, path)
    if path.is_file():
        raise BadInput(f"{path}: is a file; expected the folder that holds config.json and {WEIGHTS}")
    if isinstance(name, Path) or looks_like_path(text) or not _HUB_ID.fullmatch(text):
        raise BadInput(
            "no such file or folder",
            key="trunk",
            found=repr(text),
            expected=f"an alias ({', '.join(ALIASES)}), a folder or a hub id owner/name",
        )
    return _from_hub(text, revision, "no such folder here, ")


def hub_place(name: str, revision: str | None) -> tuple[str, str] | None:
    """The hub's id and the commit of a trunk that a branch records as `name` and `revision`; None of a folder."""
    if revision is not None:
        return name, revision
    alias = ALIASES.get(name)
    return (alias.hub, alias.revision) if alias else None


def public_name(name: str, revision: str | None) -> str:
    """What others may know a trunk by: its id on the hub, or else its folder's, as the rest says nothing elsewhere."""
    place = hub_place(name, revision)
    return place[0] if place else Path(name).name


def looks_like_path(name: str) -> bool:
    """Whether `name` can only mean something on this machine, so that asking the hub for it would be idle."""
    return name.startswith((".", "~", "/")) or name.count("/") > 1 or "\\" in name or name.lower().endswith(("/", *_SUFFIXES))


def _alias_folder(name: str, alias: Alias) -> Path:
    spec = importlib.util.find_spec(alias.package) if alias.package else None  # finds the package without running it
    if spec is not None and spec.submodule_search_locations:
        folder = Path(next(iter(spec.submodule_search_locations))) / alias.folder
        remedy = f"install {alias.distribution} again"
    else:
        folder, remedy = _from_hub(alias.hub, alias.revision).folder, "remove it from the hub's cache and try again"
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise BadInput(f"{folder} holds no {WEIGHTS}; {remedy}", key="trunk", found=repr(name))
    if (found := _sha256(weights, weights.stat().st_size, weights.stat().st_mtime_ns)) != alias.sha256:
        raise BadInput(f"{weights} has sha256 {found}, expected {alias.sha256}; {remedy}", key="trunk", found=repr(name))
    return folder


@functools.lru_cache
def _sha256(file: Path, size: int, changed: int) -> str:
    """The sha256 of a file, computed once for each state of it."""
    return sha256_file(file)


def _from_hub(name: str, revision: str | None, here: str = "") -> Source:
    """Return a repository's snapshot; `here` says in messages where else the name was looked for."""
    trunk = {"key": "trunk", "found": f"{name!r}" + (f" at revision {revision!r}" if revision else "")}
    near = difflib.get_close_matches(name, [*ALIASES, *_beside(name)], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=_WANTED, ignore_patterns=_UNWANTED))
    except GatedRepoError:
        raise BadInput("its owner must grant access on the hub first; log in with `hf auth login`", **trunk) from None
    except RevisionNotFoundError:
        raise BadInput("the hub's repository has no such revision", **trunk) from None
    except RepositoryNotFoundError:
        raise BadInput(f"{here}and no such repository on the hub{hint}", **trunk) from None
    except HFValidationError:
        raise BadInput(f"{here}and it is not a valid hub id{hint}", **trunk) from None
    except LocalEntryNotFoundError:
        if is_offline_mode():  # asked for, so that what is not in the cache cannot be had by trying again
            raise BadInput(f"{here}not in the hub's cache, and offline mode is on (HF_HUB_OFFLINE){hint}", **trunk) from None
        raise TrunklineError(f"{here}not in the hub's cache, and the hub is unreachable{hint}", **trunk) from None
    except Exception as error:  # whatever the network library throws
        raise TrunklineError(f"{here}and the hub failed with {type(error).__name__}{hint}", **trunk) from error
    return Source(name, folder.name, folder)


def _beside(name: str) -> list[str]:
    """What the folder that `name` would lie in holds, named in the same way."""
    owner, slash, _ = name.rpartition("/")
    folder = Path(owner or ".")
    return [f"{owner}{slash}{entry.name}" for entry in folder.iterdir() if entry.is_dir()] if folder.is_dir() else []


def read_config(folder: Path) -> dict[str, Any]:
    """Return a trunk folder's config.json; BadInput if it is not there or not a JSON object."""
    path = folder / "config.json"
    if not path.is_file():
        what = "an adapter without its base model" if (folder / "adapter_config.json").is_file() else "no config.json"
        raise BadInput(f"{folder}: {what}; expected a folder with config.json, {WEIGHTS} and a tokenizer")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise BadInput(f"{path}: not readable as JSON ({error})") from None
    if not isinstance(config, dict):
        raise BadInput(f"{path}: expected a JSON object, found {type(config).__name__}")
    return config


def stored_dtype(folder: Path) -> torch.dtype:
    """Return the floating dtype that holds all of a folder's weights, read from the safetensors headers.

    Raises:
        BadInput: no safetensors weights (a pickle is named if there is one), a missing shard, a broken file, or a format
            other than float64, float32, bfloat16 or float16.
    """
    found: set[str] = set()
    for file in _weight_files(folder):
        try:
            with safe_open(file, framework="pt") as tensors:
                found.update(tensors.get_slice(key).get_dtype() for key in tensors.keys())  # noqa: SIM118 (not a dict)
        except (SafetensorError, OSError) as error:
            raise BadInput(f"{file}: not a whole safetensors file ({error})") from None
    if strange := sorted(d for d in found if d.startswith("F") and d not in _FLOATS):
        raise BadInput(f"{folder}: weights are stored as {strange[0]}; expected one of {', '.join(_FLOATS)}")
    floats = [_FLOATS[d] for d in found if d in _FLOATS]
    if not floats:
        raise BadInput(f"{folder}: its {WEIGHTS} holds no floating-point tensor")
    return functools.reduce(torch.promote_types, floats)  # the narrowest that holds them all


def _weight_files(folder: Path) -> list[Path]:
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        if pickles := sorted(f.name for pattern in _PICKLES for f in folder.glob(pattern)):
            raise BadInput(
                f"{folder}: its weights are pickled ({pickles[0]}), which can run code when read; expected {WEIGHTS}"
            )
        raise BadInput(f"{folder}: no weights; expected {WEIGHTS}")
    try:
        names = sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError, OSError):
        raise BadInput(f"{folder / INDEX}: not readable; expected a JSON object with weight_map") from None
    for name in names:
        if not (folder / name).is_file():
            raise BadInput(f"{folder}: {INDEX} lists {name}, which is missing")
    return [folder / name for name in names]
