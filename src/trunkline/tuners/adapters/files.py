"""Adapters and fusions on disk: the `adapters` package's folders, read and written, and adapters in Trunkline's branches.

A folder of that package holds adapter_config.json and adapter.safetensors (a fusion's: adapter_fusion_config.json and
model_adapter_fusion.safetensors), older ones pytorch_adapter.bin. Those are pickles, which nothing here reads but
`import_bin`, which somebody has to ask for.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from trunkline.errors import BadInput, ascii_controls
from trunkline.files import atomic_directory, check_regular, new_folder, read_object
from trunkline.saved import Weights, branch_meant, check_together
from trunkline.tuners.adapters.bottleneck import Spec, parse_spec
from trunkline.tuners.adapters.fusing import parse_fusion
from trunkline.tuners.adapters.weights import Home, Stored, StoredFusion, split_name

VERSION = "adapters.1.3.0"  # the release whose format is written
CONFIG, WEIGHTS, PICKLE = "adapter_config.json", "adapter.safetensors", "pytorch_adapter.bin"
FUSION_CONFIG, FUSION_WEIGHTS = "adapter_fusion_config.json", "model_adapter_fusion.safetensors"
# Each pickle of the package and the file that replaces it.
PICKLES = {
    PICKLE: WEIGHTS,
    "pytorch_model_adapter_fusion.bin": FUSION_WEIGHTS,
    "pytorch_model_head.bin": "model_head.safetensors",
}
CONFIGS = dict(zip(PICKLES, (CONFIG, FUSION_CONFIG, "head_config.json"), strict=True))  # each pickle's own
_OLD_NAMES = {
    r"(attention|layer)_text_(task|lang)_adapters": "adapters",
    "invertible_lang_adapters": "invertible_adapters",
}


def read_adapter(path: str | Path, home: Home) -> Stored:
    """Read an adapter for a model.

    Args:
        path: a folder of the `adapters` package, or a branch whose method is `adapter`.
        home: of the model.

    Raises:
        BadInput: neither of the two, made for another kind or width of model, a pickle, or tensors that do not fit.
    """
    path = Path(path).expanduser()
    if (path / "branch.json").is_file():
        return _read_branch(path, home)
    if not (path / CONFIG).is_file():
        raise BadInput(f"{path}: found no adapter; expected a folder with {CONFIG} or a branch of method adapter")
    where = f"{path / CONFIG}"
    described = read_object(path / CONFIG)
    _check_home(described, home, where)
    name, config = described.get("name"), described.get("config")
    if not isinstance(name, str) or not isinstance(config, dict):
        raise BadInput(f"{where}: found no name and config of an adapter; expected both")
    if "version" not in described and config.get("non_linearity") == "gelu":  # the first release meant the other one
        config["non_linearity"] = "gelu_new"
    spec = parse_spec(config, where)
    weights = _own_names(load_tensors(path, WEIGHTS), name, spec, home, str(path / WEIGHTS))
    if spec.inv_adapter and described.get("type") == "text_task" and not any(k.startswith("invertible.") for k in weights):
        spec = spec.model_copy(update={"inv_adapter": None})  # the first release declared it for task adapters too
    _check_sizes(spec, weights, home, str(path))
    return Stored(name, spec, weights, str(path))


def write_adapter(folder: str | Path, stored: Stored, home: Home, *, model_name: str | None = None) -> None:
    """Write an adapter as a folder that the `adapters` package loads (`model.load_adapter(folder, use_safetensors=True)`)."""
    named: dict[str, Tensor] = {}
    for key, value in stored.weights.items():
        place, parameter = split_name(key)
        if place == "invertible":
            names = [f"{home.inverse}.{stored.name}.{parameter}"]
        else:
            inside = f"{home.saved[place]}.adapters.{stored.name}."
            names = [inside + stored.spec.saved_name(parameter)]
            if parameter.startswith("norm_before."):  # held twice there
                names.append(f"{inside}adapter_{parameter}")
        named |= {home.prefix + name: value for name in names}
    config = stored.spec.model_dump(mode="json")
    _write(Path(folder), CONFIG, WEIGHTS, _described(home, stored.name, config, model_name), named)


def read_fusion(path: str | Path, home: Home) -> StoredFusion:
    """Read a fusion from a folder of the `adapters` package; BadInput as in `read_adapter`."""
    path = Path(path).expanduser()
    if not (path / FUSION_CONFIG).is_file():
        raise BadInput(f"{path}: found no fusion; expected a folder with {FUSION_CONFIG}")
    where, described = f"{path / FUSION_CONFIG}", read_object(path / FUSION_CONFIG)
    _check_home(described, home, where)
    name, config = described.get("name"), described.get("config")
    names = described.get("adapter_names") or (name.split(",") if isinstance(name, str) else None)
    if not isinstance(name, str) or not isinstance(config, dict) or not isinstance(names, list):
        raise BadInput(f"{where}: found no name, adapter_names and config of a fusion; expected all three")
    spec = parse_fusion(config, where)
    places = {f"{saved}.adapter_fusion_layer.{name}.": place for place, saved in home.saved.items()}
    weights = {}
    for key, value in load_tensors(path, FUSION_WEIGHTS).items():
        bare = key.removeprefix(home.prefix)
        if home.encoder_only and bare.startswith("decoder."):
            continue
        prefix = next((prefix for prefix in places if bare.startswith(prefix)), None)
        if prefix is None:
            raise BadInput(
                f"{path / FUSION_WEIGHTS}: tensor {ascii_controls(key)} matches no adapter position of this {home.model_type}"
            )
        weights[f"{places[prefix]}.{bare.removeprefix(prefix)}"] = value
    return StoredFusion(names, spec, weights, str(path))


def write_fusion(folder: str | Path, stored: StoredFusion, home: Home, *, model_name: str | None = None) -> None:
    """Write a fusion as a folder that the `adapters` package loads, once it has loaded the adapters."""
    name, named = stored.name, {}
    for key, value in stored.weights.items():
        place, parameter = split_name(key)
        named[f"{home.prefix}{home.saved[place]}.adapter_fusion_layer.{name}.{parameter}"] = value
    config = stored.spec.model_dump(mode="json") | {"temperature": False, "residual_before": False}
    described = _described(home, name, config, model_name) | {"adapter_names": stored.names}
    _write(Path(folder), FUSION_CONFIG, FUSION_WEIGHTS, described, named)


def import_bin(path: str | Path, into: str | Path) -> list[str]:
    """Turn the pickles of a folder of the `adapters` package into safetensors, in a new folder with the same configs.

    The pickles are read by torch's weights-only loader. This is the only place where a pickle is read.

    Args:
        path: the folder, or one of its pickles: then that one alone, with its config.
        into: new or empty.

    Returns:
        The names of the files written.

    Raises:
        BadInput: no such pickle, one without its config, one that holds anything but tensors by name, a link that leads out
            of the folder, or something in the way of the new one.
    """
    path, into = Path(path).expanduser(), Path(into).expanduser()
    new_folder(into)
    found = [file for file in ([path] if path.is_file() else map(path.joinpath, PICKLES)) if file.is_file()]
    if not found or found[0].name not in PICKLES:
        raise BadInput(f"{path}: found none of {', '.join(PICKLES)}; expected an adapter folder of an older release")
    tensors = {}
    for file in found:
        new, config = PICKLES[file.name], file.with_name(CONFIGS[file.name])
        if not config.is_file():
            raise BadInput(f"{file}: found no {config.name} next to it, which describes the weights; expected both")
        _check_inside(file)
        _check_inside(config)
        read_object(config)
        try:
            held = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # unpickling can fail in any way
            raise BadInput(f"{file}: cannot be read as weights ({type(error).__name__})") from None
        if not isinstance(held, dict) or not all(isinstance(value, Tensor) for value in held.values()):
            raise BadInput(f"{file}: found something other than named tensors")
        tensors[new] = {str(name): value.contiguous().clone() for name, value in held.items()}
    copied = [path.with_name(CONFIGS[path.name])] if path.is_file() else [*path.glob("*.json"), *path.glob("*.safetensors")]
    for file in copied:
        _check_inside(file)
        check_regular(file)
    with atomic_directory(into) as temporary:
        for file in copied:
            shutil.copyfile(file, temporary / file.name)
        for new, named in tensors.items():
            save_file(named, temporary / new)
        return sorted(file.name for file in temporary.iterdir())


def _check_inside(file: Path) -> None:
    """BadInput if `file` is a link out of its folder: what a stranger's folder leads to is the user's, and not to be copied.

    The hub's cache is made of such links, from the folder of each revision to the blobs beside it; these are followed.
    """
    folder = file.parent.resolve()
    allowed = [folder, *(above.parent / "blobs" for above in folder.parents if above.name == "snapshots")]
    if not any(file.resolve().is_relative_to(place) for place in allowed):
        raise BadInput(f"{file}: is a link to a file outside its folder, which is not followed; expected a file")


def load_tensors(path: Path, name: str) -> dict[str, Tensor]:
    pickle = next(old for old, new in PICKLES.items() if new == name) if name in PICKLES.values() else None
    if not (path / name).is_file() and pickle and (path / pickle).is_file():
        raise BadInput(f"{path}: found {pickle}, a pickle, which is not read; convert it to {name} with `trunkline import`")
    tensors = Weights.open(path / name).load()
    for key, value in tensors.items():
        if value.dtype != torch.float32:  # a model in another precision would round them, or has rounded them
            found = str(value.dtype).removeprefix("torch.")
            raise BadInput(
                f"{path / name}: tensor {ascii_controls(key)} is {found}, expected float32; save it from a model in float32"
            )
    return tensors


def _check_sizes(spec: Spec, weights: dict[str, Tensor], home: Home, where: str) -> None:
    """BadInput unless bottlenecks are as wide as `spec` says; looked at before a model is changed, as it could be any width."""
    seen = False
    for key, value in weights.items():
        place, parameter = split_name(key)
        if place != "invertible" and parameter == "down.weight":
            index, found = int(place.rpartition(".")[2]), value.shape[0] if value.ndim else 0
            expected, seen = spec.inner(home.hidden_size, index), True
        elif place == "invertible" and parameter in ("F.0.weight", "G.0.weight") and value.ndim == 2:
            found, expected = value.shape[0], spec.coupled(value.shape[1])
        else:
            continue
        if found != expected:
            raise BadInput(f"{where}: {key} has a width of {found}, but its config means {expected}; expected the same")
    if not seen or (spec.inv_adapter and not any(key.startswith("invertible.F.0.") for key in weights)):
        raise BadInput(f"{where}: found no weights of {'its invertible adapter' if seen else 'an adapter'}; expected some")


def _check_home(described: dict[str, Any], home: Home, where: str) -> None:
    for key, expected in (("model_type", home.model_type), ("hidden_size", home.hidden_size)):
        if described.get(key, expected) != expected:
            raise BadInput(f"{where}: {key}: found {described[key]!r}, expected {expected!r}, as in the trunk")


def _own_names(found: dict[str, Tensor], name: str, spec: Spec, home: Home, where: str) -> dict[str, Tensor]:
    """The tensors of an adapter's file by the names they have in memory."""
    places = {f"{saved}.adapters.{name}.": place for place, saved in home.saved.items()}
    modules = ("norm_before", "down", "up", "norm_after", "gate")
    parameters = {spec.saved_name(f"{m}.{p}"): f"{m}.{p}" for m in modules for p in ("weight", "bias")} | {"scaling": "scaling"}
    inverse, weights = f"{home.inverse}.{name}.", {}
    for key, value in found.items():
        bare = key.removeprefix(home.prefix)
        for old, new in _OLD_NAMES.items():
            bare = re.sub(rf"\.{old}\.", f".{new}.", f".{bare}").removeprefix(".")
        if bare.startswith(inverse):
            weights[f"invertible.{bare.removeprefix(inverse)}"] = value
            continue
        if (home.encoder_only and bare.startswith("decoder.")) or ".adapter_norm_before." in bare:
            continue
        place = next((place for prefix, place in places.items() if bare.startswith(prefix)), None)
        parameter = parameters.get(bare.partition(f".adapters.{name}.")[2])
        if place is None or parameter is None:
            raise BadInput(f"{where}: tensor {ascii_controls(key)} matches no adapter position of this {home.model_type}")
        weights[f"{place}.{parameter}"] = value
    return weights


def _read_branch(path: Path, home: Home) -> Stored:
    file = path / "branch.json"
    described = read_object(file)
    method, trunk = described.get("method"), described.get("trunk")
    if not isinstance(method, dict) or not isinstance(trunk, dict) or method.get("name") != "adapter":
        found = method.get("name") if isinstance(method, dict) else None
        raise BadInput(f"{file}: method.name: found {found!r}, expected 'adapter'")
    specs = method.get("specs")
    if not isinstance(specs, dict) or not isinstance(specs.get("task"), dict):
        raise BadInput(f"{file}: method.specs: found none, expected the adapter's architecture")
    if trunk.get("hidden_size", home.hidden_size) != home.hidden_size:
        raise BadInput(f"{file}: trunk.hidden_size: found {trunk['hidden_size']}, expected {home.hidden_size}, as in the trunk")
    if not all(isinstance(trunk.get(key), str | None) for key in ("weights", "config")):
        raise BadInput(f"{file}: trunk: found digests that are no text, expected sha256")
    check_together(file, described, branch_meant(described), Weights.open(path / "weights.safetensors"))
    parts: dict[str, dict[str, Tensor]] = {"task": {}, "language": {}}
    starts = {f"trunk.{owner}.{part}.": (part, place) for place, owner in home.paths.items() for part in parts}
    for key, value in load_tensors(path, "weights.safetensors").items():
        if key.startswith("trunk.invertible_adapter."):
            lowest = "language" if specs.get("language") else "task"
            parts[lowest]["invertible." + key.removeprefix("trunk.invertible_adapter.")] = value
        for start, (part, place) in starts.items():
            if key.startswith(start):
                parts[part][f"{place}.{key.removeprefix(start)}"] = value
    name, known, config = str(described.get("name", path.name)), trunk.get("weights"), trunk.get("config")
    language = specs.get("language")
    below = None
    if isinstance(language, dict):
        below = Stored("language", parse_spec(language, f"{file}: method.specs.language"), parts["language"], str(path), known)
        _check_sizes(below.spec, below.weights, home, str(path))
    spec = parse_spec(specs["task"], f"{file}: method.specs.task")
    _check_sizes(spec, parts["task"], home, str(path))
    return Stored(name, spec, parts["task"], str(path), known, below, config)


def _described(home: Home, name: str, config: dict[str, Any], model_name: str | None) -> dict[str, Any]:
    return {
        "config": config,
        "hidden_size": home.hidden_size,
        "model_class": home.model_class,
        "model_name": model_name,
        "model_type": home.model_type,
        "name": name,
        "version": VERSION,
    }


def _write(folder: Path, config: str, weights: str, described: dict[str, Any], named: dict[str, Tensor]) -> None:
    with atomic_directory(folder) as temporary:
        (temporary / config).write_text(json.dumps(described, indent=2, sort_keys=True) + "\n", "utf-8")
        save_file({name: value.contiguous().clone() for name, value in named.items()}, temporary / weights)
