"""Adapters' weights off a model and back: what the files of adapters, the tuners and exports hand to each other.

A tensor is called by its place and its name in the module: "output.3.down.weight", "invertible.F.0.weight".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from trunkline.errors import BadInput
from trunkline.trunk.architectures import Architecture, Taps
from trunkline.trunk.load import Trunk
from trunkline.tuners.adapters.bottleneck import Spec
from trunkline.tuners.adapters.fusing import FusionSpec
from trunkline.tuners.adapters.places import PLACES, Spot, encoder_alone, find_spots
from trunkline.tuners.adapters.stack import Place

LANGUAGE = "language"  # the adapter below: its name in a model and its folder in an export


@dataclass(frozen=True)
class Home:
    """What files and branches have to know of the model that adapters sit in.

    Args:
        prefix: what the `adapters` package puts before the base model's names.
        saved: by place ("output.3"), the module that holds its adapters in that package.
        paths: by place, the module that holds them here.
        inverse: the module that holds invertible adapters in that package.
        encoder_only: the model lacks a decoder whose adapters a file may hold.
    """

    model_type: str
    model_class: str
    hidden_size: int
    prefix: str
    saved: dict[str, str] = field(repr=False)
    paths: dict[str, str] = field(repr=False)
    inverse: str
    encoder_only: bool

    @classmethod
    def of(cls, model: Any, architecture: Architecture, taps: Taps) -> Home:
        spots = find_spots(model, architecture, taps)
        return cls(
            architecture.model_type,
            type(model).__name__,
            model.config.hidden_size,
            f"{model.base_model_prefix}.",
            {_key(spot): spot.saved for spot in spots},
            {_key(spot): ".".join(filter(None, [spot.path, f"{spot.location}_adapter"])) for spot in spots},
            PLACES[architecture.model_type].inverse,
            encoder_alone(model, architecture) or architecture.model_type == "t5",
        )


@dataclass(frozen=True)
class Stored:
    """An adapter with its weights, off disk or out of a model.

    Args:
        where: its path, for messages.
        trunk: sha256 of the weights of the trunk it was made for, where that is known (a branch knows it).
        language: the adapter below it that it was trained on, in a branch that has one.
        config: sha256 of the settings in that trunk's config.json, where that is known.
    """

    name: str
    spec: Spec
    weights: dict[str, Tensor] = field(repr=False)
    where: str = ""
    trunk: str | None = None
    language: Stored | None = None
    config: str | None = None


@dataclass(frozen=True)
class StoredFusion:
    """A fusion over adapters of these names, with its weights ("output.3.query.weight")."""

    names: list[str]
    spec: FusionSpec
    weights: dict[str, Tensor] = field(repr=False)
    where: str = ""

    @property
    def name(self) -> str:
        """What the `adapters` package calls it."""
        return ",".join(self.names)


def refuse_others(adapters: Iterable[Stored], trunk: Trunk) -> None:
    """Raise BadInput if one of the adapters is known to belong to another trunk; files of the `adapters` package know none."""
    found = trunk.fingerprint
    for stored in adapters:
        for what, made, here in (
            ("weights", stored.trunk, found.weights),
            ("settings in config.json of", stored.config, found.config),
        ):
            if made not in (None, here):
                raise BadInput(
                    f"{stored.where}: made for a trunk with {what} sha256 {made[:12]}, found {here[:12]} in "
                    f"{trunk.name}; give the trunk it belongs to"
                )


def without_inverse(stored: Stored) -> Stored:
    """The adapter without its invertible one, which is used only of the lowest adapter of a model."""
    kept = {name: value for name, value in stored.weights.items() if not name.startswith("invertible.")}
    return replace(stored, spec=stored.spec.model_copy(update={"inv_adapter": None}), weights=kept)


def same(one: Stored | None, two: Stored | None) -> bool:
    """Whether two adapters compute the same."""
    if one is None or two is None:
        return one is two
    return one.spec == two.spec and all(
        name in two.weights and torch.equal(value, two.weights[name]) for name, value in one.weights.items()
    )


def language_of(stored: Stored, given: Stored | None) -> Stored | None:
    """What an adapter is put on: the language adapter that it was trained on, else `given`, that of `method.stack_on`.

    Raises:
        BadInput: both are there and differ, or what is given sits on another adapter in turn.
    """
    if given is not None and given.language is not None:
        raise BadInput(f"{given.where}: is itself stacked on a language adapter; method.stack_on expected one that is not")
    if stored.language is not None and given is not None and not same(stored.language, given):
        raise BadInput(f"found another language adapter than {stored.where} was trained on; omit it", key="method.stack_on")
    return stored.language or given


def split_name(key: str) -> tuple[str, str]:
    """The place and the parameter that a name in memory tells."""
    parts = key.split(".")
    cut = 1 if parts[0] == "invertible" else 2
    return ".".join(parts[:cut]), ".".join(parts[cut:])


def weights_of(places: list[Place], part: str, invertible: nn.Module | None = None) -> dict[str, Tensor]:
    """The weights of the adapter `part` ("task", "language", "fused.<name>") or of "fusion", by place, on the CPU."""
    weights = {}
    for place in places:
        module = place.fusion if part == "fusion" else place.adapters().get(part)
        for name, value in module.named_parameters() if module is not None else ():
            weights[f"{place.location}.{place.index}.{name}"] = value.detach().float().cpu().clone()
    for name, value in invertible.named_parameters() if invertible is not None else ():
        weights[f"invertible.{name}"] = value.detach().float().cpu().clone()
    return weights


@torch.no_grad()
def fill(places: list[Place], part: str, stored: Stored | StoredFusion, invertible: nn.Module | None = None) -> None:
    """Put weights where `weights_of` takes them from.

    Raises:
        BadInput: a tensor is missing, left over, misshaped or not finite.
    """
    modules: dict[str, nn.Module] = {} if invertible is None else {"invertible": invertible}
    for place in places:
        module = place.fusion if part == "fusion" else place.adapters().get(part)
        if module is not None:
            modules[f"{place.location}.{place.index}"] = module
    wanted = {f"{place}.{name}": p for place, module in modules.items() for name, p in module.named_parameters()}
    for name in sorted(wanted.keys() | stored.weights.keys()):
        if name not in stored.weights:
            raise BadInput(f"{stored.where}: the weights of {name} are missing")
        if name not in wanted:
            raise BadInput(f"{stored.where}: the weights of {name} do not match any module of this trunk")
        value = stored.weights[name]
        if value.shape != wanted[name].shape:
            raise BadInput(f"{stored.where}: {name} is {list(value.shape)}, expected {list(wanted[name].shape)}")
        if not torch.isfinite(value).all():
            raise BadInput(f"{stored.where}: {name} holds a number that is not finite")
        wanted[name].copy_(value)


def _key(spot: Spot) -> str:
    return f"{spot.location}.{spot.index}"
