"""AdapterFusion: adapters of several tasks, frozen, and an attention over them that is trained for one (Pfeiffer et al. 2021,
"AdapterFusion: Non-Destructive Task Composition for Transfer Learning", arXiv 2005.00247). fusing.py has the layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, Field
from torch import Tensor, nn
from transformers import PreTrainedModel

from trunkline.branches.fold import methods
from trunkline.errors import BadInput
from trunkline.files import distinct_names, safe_name
from trunkline.trunk.architectures import Architecture, Taps
from trunkline.trunk.load import Trunk
from trunkline.tuners.adapters.bottleneck import parse_spec
from trunkline.tuners.adapters.files import read_adapter, read_fusion, write_adapter, write_fusion
from trunkline.tuners.adapters.fusing import FusionSpec
from trunkline.tuners.adapters.stack import put_adapters
from trunkline.tuners.adapters.weights import (
    LANGUAGE,
    Home,
    Stored,
    StoredFusion,
    fill,
    language_of,
    refuse_others,
    same,
    weights_of,
    without_inverse,
)
from trunkline.tuners.base import Tuner, TunerConfig

# What transformers' configs call the dropout of attention, where it is not `attention_probs_dropout_prob`.
_DROPOUT = {
    **dict.fromkeys(("bart", "mbart", "distilbert"), "attention_dropout"),
    "gpt2": "attn_pdrop",
    "t5": "dropout_rate",
}


class FusionConfig(TunerConfig):
    """`method: {name: fusion, adapters: {sentiment: runs/a/branches/sentiment, ...}}`."""

    PATHS: ClassVar[tuple[str, ...]] = ("adapters", "stack_on", "start")

    name: Literal["fusion"] = "fusion"
    adapters: dict[str, str] | list[str] = Field(description="the adapters by name: branches of method adapter, or folders")
    stack_on: str | None = Field(None, description="folder of a language adapter (adapters' format), kept frozen below")
    start: str | None = Field(None, description="folder of a fusion over these adapters to initialise from (adapters' format)")
    specs: dict[str, Any] | None = Field(None, description="written by Trunkline, so that a branch is self-contained")


@methods.register("fusion")
class Fusion(Tuner):
    """See the module's docstring. Adapters that were trained on a language adapter bring it along."""

    Config: ClassVar[type[BaseModel]] = FusionConfig
    target, merges = "adapters", False

    def check(self, trunk: Trunk) -> None:
        """Refuse adapters that were made for another trunk than this; call it before `apply`, which sees no fingerprint.

        Raises:
            BadInput: a branch among the adapters, or the one below them, belongs to another trunk.
        """
        if self.config.specs is not None:
            return
        home = Home.of(trunk.model, trunk.row, trunk.taps)
        below = [read_adapter(self.config.stack_on, home)] if self.config.stack_on else []
        refuse_others([*self._read(home), *below], trunk)

    def apply(self, model: PreTrainedModel, architecture: Architecture, taps: Taps) -> Any:
        self.home = Home.of(model, architecture, taps)
        adapters, language, fusion = self._chosen(model)
        self.specs, self.language, self.spec = {a.name: a.spec for a in adapters}, language, fusion.spec
        below = language.spec if language else None
        self.places = put_adapters(model, architecture, taps, language=below, fused=self.specs, fusion=fusion.spec)
        self.invertible = getattr(model, "invertible_adapter", None)
        self._model = [model]
        parts = [(f"fused.{stored.name}", stored) for stored in adapters]
        parts = [("language", language), *parts] if language else parts
        for number, (part, stored) in enumerate(parts):
            if stored.weights:
                fill(self.places, part, stored, self.invertible if number == 0 else None)
        if fusion.weights:
            fill(self.places, "fusion", fusion)
        for module in (*self.places, *([self.invertible] if self.invertible is not None else [])):
            module.requires_grad_(False)
        for place in self.places:
            if place.fusion is not None:
                place.fusion.requires_grad_(True)
        return model

    def penalty(self) -> Tensor | float:
        """What is added to the loss: how far the value matrices are from the identity."""
        return sum((place.fusion.penalty() for place in self.places if place.fusion is not None), start=0.0)

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Within this context, passes in eval mode are counted for `attention`; it costs a little, so it is off otherwise."""
        layers = [place.fusion for place in self.places if place.fusion is not None]

        def see(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            for layer in layers:
                layer.mask[0] = kwargs.get("attention_mask")

        hook = self._model[0].register_forward_pre_hook(see, with_kwargs=True)
        for layer in layers:
            layer.totals, layer.tokens = {}, 0.0
        try:
            yield
        finally:
            hook.remove()
            self._seen = {
                id(layer): ({n: t / layer.tokens for n, t in layer.totals.items()}) for layer in layers if layer.totals
            }
            for layer in layers:
                layer.totals, layer.mask[0] = None, None

    def attention(self) -> dict[int, dict[str, float]]:
        """By block 1..l, the share of attention that each adapter got in the passes of the last `watch`.

        A mean over real tokens, and over the places of a block that has several; empty before any pass.
        """
        shares: dict[int, list[dict[str, float]]] = {}
        for place in self.places:
            if (seen := getattr(self, "_seen", {}).get(id(place.fusion))) is not None:
                for number in place.numbers:
                    shares.setdefault(number, []).append(seen)
        return {
            number: {name: sum(s[name] for s in several) / len(several) for name in several[0]}
            for number, several in sorted(shares.items())
        }

    def described(self) -> dict[str, Any]:
        """The config for `branch.json`: with it the branch reloads without the files that the config named."""
        specs: dict[str, Any] = {"fused": {name: spec.model_dump(mode="json") for name, spec in self.specs.items()}}
        if self.language is not None:
            specs["language"] = self.language.spec.model_dump(mode="json")
        specs["fusion"] = self.spec.model_dump(mode="json")
        return self.config.model_copy(update={"specs": specs}).model_dump(mode="json")

    def export(self, folder: str, *, model_name: str | None = None) -> None:
        """Write folders that the `adapters` package loads: one for each adapter, by its name, and `fusion`.

        A language adapter below them is in `language`.

        Raises:
            BadInput: an adapter has the name of another folder.
        """
        for inner, stored in self.parts().items():
            write: Any = write_fusion if isinstance(stored, StoredFusion) else write_adapter
            write(Path(folder) / inner, stored, self.home, model_name=model_name)

    def parts(self) -> dict[str, Stored | StoredFusion]:
        """What `export` writes, by folder; BadInput as there."""
        adapter_names(self.specs, "export")
        for taken in ("fusion", *([LANGUAGE] if self.language is not None else [])):
            if taken in map(str.casefold, self.specs):
                raise BadInput(
                    f"export: found an adapter called {taken}, the name of another folder too; expected another name"
                )
        parts: dict[str, Stored | StoredFusion] = {}
        if self.language is not None:
            weights = weights_of(self.places, LANGUAGE, self.invertible)
            parts[LANGUAGE] = Stored(LANGUAGE, self.language.spec, weights)
        for name, spec in self.specs.items():
            own = self.invertible if not parts else None  # of the lowest
            parts[name] = Stored(name, spec, weights_of(self.places, f"fused.{name}", own))
        return parts | {"fusion": StoredFusion(list(self.specs), self.spec, weights_of(self.places, "fusion"))}

    def _chosen(self, model: Any) -> tuple[list[Stored], Stored | None, StoredFusion]:
        specs = self.config.specs
        if specs is not None:  # a saved branch: its own file brings the weights
            adapter_names(specs["fused"], "method.specs.fused")
            adapters = [
                Stored(name, parse_spec(spec, f"method.specs.fused.{name}"), {}) for name, spec in specs["fused"].items()
            ]
            below = specs.get("language")
            language = Stored("language", parse_spec(below, "method.specs.language"), {}) if below else None
            return adapters, language, StoredFusion([], FusionSpec.model_validate(specs["fusion"]), {})
        adapters = self._read(self.home)
        _check_alike(adapters)
        adapters = [adapters[0], *map(without_inverse, adapters[1:])]
        _check_language(adapters)
        given = read_adapter(self.config.stack_on, self.home) if self.config.stack_on else None
        language = language_of(adapters[0], given)
        if language is not None:
            adapters[0] = without_inverse(adapters[0])
        names = [stored.name for stored in adapters]
        fusion = StoredFusion(names, FusionSpec(), {})
        if self.config.start:
            fusion = read_fusion(self.config.start, self.home)
            if fusion.names != names:
                raise BadInput(f"{fusion.where}: a fusion of {', '.join(fusion.names)}, expected one of {', '.join(names)}")
        rate = fusion.spec.dropout_prob
        if not rate:  # zero too means the model's own there
            key = _DROPOUT.get(self.home.model_type, "attention_probs_dropout_prob")
            rate = getattr(model.config, key, 0.0)
        return adapters, language, StoredFusion(names, fusion.spec.model_copy(update={"dropout_prob": rate}), fusion.weights)

    def _read(self, home: Home) -> list[Stored]:
        given = self.config.adapters
        named = list(given.items()) if isinstance(given, dict) else [(None, path) for path in given]
        if not named:
            raise BadInput("found none, expected at least one", key="method.adapters")
        read = []
        for name, path in named:
            stored = read_adapter(path, home)
            read.append(replace(stored, name=name or stored.name))
        adapter_names([stored.name for stored in read], "method.adapters")
        return read


def adapter_names(names: Iterable[str], where: str) -> None:
    """BadInput unless all are fit to name the adapters of one fusion: in paths, in tensors' names, and beside each other."""
    names = list(names)
    for name in names:
        safe_name(name, where)
        if "." in name or names.count(name) > 1:
            raise BadInput(key=where, found=f"the name {name!r}", expected="names without dots, each once")
        if hasattr(nn.ModuleDict, name) or hasattr(nn.Module(), name):
            raise BadInput(
                f"found the name {name!r}, which is an attribute of PyTorch's modules; expected another name", key=where
            )
    distinct_names(names, where)


def _check_alike(adapters: list[Stored]) -> None:
    first = adapters[0]
    for other in adapters[1:]:
        if other.spec.wiring() != first.spec.wiring():
            raise BadInput(f"{other.where}: its adapters have other positions than those of {first.where}; expected the same")
        if first.trunk and other.trunk and first.trunk != other.trunk:
            raise BadInput(
                f"{other.where}: made for a trunk with weights sha256 {other.trunk[:12]}, but {first.where} for "
                f"{first.trunk[:12]}; expected adapters of the same trunk"
            )


def _check_language(adapters: list[Stored]) -> None:
    first = adapters[0]
    for other in adapters[1:]:
        if not same(first.language, other.language):
            raise BadInput(f"{other.where}: trained on another language adapter than {first.where}; expected the same")
