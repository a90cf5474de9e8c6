"""Bottleneck adapters: small layers put between a frozen trunk's own (Houlsby et al. 2019, arXiv 1902.00751; Pfeiffer et al.
2020, arXiv 2005.00247 and 2005.00052; He et al. 2022, arXiv 2110.04366).

    h <- h + W_up f(W_down x)

`pfeiffer` puts one after each feed-forward part, `houlsby` one after attention too, `parallel` one beside the feed-forward
part. What is computed is what the `adapters` package computes; bottleneck.py has the layer, places.py the places.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, Field
from transformers import PreTrainedModel

from trunkline.branches.fold import methods
from trunkline.errors import BadInput, unknown_name
from trunkline.trunk.architectures import Architecture, Taps
from trunkline.trunk.load import Trunk
from trunkline.tuners.adapters.bottleneck import ACTIVATIONS, VARIANTS, Spec, parse_spec
from trunkline.tuners.adapters.files import read_adapter, write_adapter
from trunkline.tuners.adapters.places import find_spots, left_out
from trunkline.tuners.adapters.stack import put_adapters
from trunkline.tuners.adapters.weights import (
    LANGUAGE,
    Home,
    Stored,
    fill,
    language_of,
    refuse_others,
    weights_of,
    without_inverse,
)
from trunkline.tuners.base import Tuner, TunerConfig


class AdapterConfig(TunerConfig):
    """`method: {name: adapter}`."""

    PATHS: ClassVar[tuple[str, ...]] = ("stack_on", "start")

    name: Literal["adapter"] = "adapter"
    variant: Literal["pfeiffer", "houlsby", "parallel"] = Field("pfeiffer", description="where the adapters are inserted")
    reduction: float = Field(16, gt=0, description="the trunk's width / the adapter's")
    activation: str | None = Field(None, description="relu for pfeiffer and parallel, swish for houlsby by default")
    layers: list[int] | str | None = Field(None, description='blocks 1 to l with an adapter, e.g. "7-12"; all by default')
    stack_on: str | None = Field(None, description="folder of a language adapter (adapters' format), kept frozen below")
    start: str | None = Field(None, description="folder of an adapter to initialise from; it also defines its architecture")
    specs: dict[str, Any] | None = Field(None, description="written by Trunkline, so that a branch is self-contained")


@methods.register("adapter")
class Adapter(Tuner):
    """See the module's docstring."""

    Config: ClassVar[type[BaseModel]] = AdapterConfig
    target, merges = "adapters", False

    def check(self, trunk: Trunk) -> None:
        """Refuse a branch to start from or to stack on that was made for another trunk than this."""
        named = [path for path in (self.config.stack_on, self.config.start) if path]
        if self.config.specs is None and named:
            home = Home.of(trunk.model, trunk.row, trunk.taps)
            refuse_others([read_adapter(path, home) for path in named], trunk)

    def apply(self, model: PreTrainedModel, architecture: Architecture, taps: Taps) -> Any:
        self.home = Home.of(model, architecture, taps)
        language, task = self._chosen(model, architecture, taps)
        if language is not None and task.spec.is_parallel:
            raise BadInput(
                "found parallel, which would bypass the language adapter; expected pfeiffer or houlsby", key="method.variant"
            )
        task = without_inverse(task) if language is not None else task
        self.spec, self.language = task.spec, language.spec if language else None
        self.places = put_adapters(model, architecture, taps, language=self.language, task=self.spec)
        self.invertible = getattr(model, "invertible_adapter", None)
        for part, stored in (("language", language), ("task", task)):
            if stored is not None and stored.weights:
                fill(self.places, part, stored, self.invertible if stored is (language or task) else None)
        for place in self.places:
            if place.task is not None:
                place.task.requires_grad_(True)
            if place.language is not None:
                place.language.requires_grad_(False)
        if self.invertible is not None:
            self.invertible.requires_grad_(language is None)
        return model

    def described(self) -> dict[str, Any]:
        """The config for `branch.json`: with it the branch reloads without the files that the config named."""
        specs = {"task": self.spec.model_dump(mode="json")}
        if self.language is not None:
            specs["language"] = self.language.model_dump(mode="json")
        return self.config.model_copy(update={"specs": specs}).model_dump(mode="json")

    def export(self, folder: str, name: str, *, model_name: str | None = None) -> None:
        """Write the adapter as a folder that the `adapters` package loads, with the language adapter below it in `language`."""
        for inner, stored in self.parts(name).items():
            write_adapter(Path(folder) / inner, stored, self.home, model_name=model_name)

    def parts(self, name: str) -> dict[str, Stored]:
        """What `export` writes, by folder within its own; the adapter itself lies in that one."""
        own = self.invertible if self.language is None else None
        parts = {"": Stored(name, self.spec, weights_of(self.places, "task", own))}
        if self.language is not None:
            weights = weights_of(self.places, LANGUAGE, self.invertible)
            parts[LANGUAGE] = Stored(f"{LANGUAGE}_below" if name == LANGUAGE else LANGUAGE, self.language, weights)
        return parts

    def _chosen(self, model: Any, architecture: Architecture, taps: Taps) -> tuple[Stored | None, Stored]:
        """The language adapter and the task adapter: with weights where they come from a file."""
        config, where = self.config, "method"
        if config.specs is not None:  # a saved branch: its own file brings the weights
            parsed = {part: parse_spec(values, f"method.specs.{part}") for part, values in config.specs.items()}
            below = parsed.get("language")
            return (Stored("language", below, {}) if below else None), Stored("task", parsed["task"], {})
        given = read_adapter(config.stack_on, self.home) if config.stack_on else None
        if config.start:
            changed = sorted({"variant", "reduction", "activation", "layers"} & config.model_fields_set)
            if changed:
                raise BadInput(
                    f"{where}.{changed[0]}: found together with start, which already defines it; give one of the two"
                )
            task = read_adapter(config.start, self.home)
            return language_of(task, given), task
        if config.reduction > self.home.hidden_size:
            raise BadInput(
                f"{where}.reduction: found {config.reduction:g}, expected at most {self.home.hidden_size}, the trunk's width"
            )
        if config.activation is not None and config.activation not in ACTIVATIONS:
            raise unknown_name(f"{where}.activation", config.activation, ACTIVATIONS)
        values = VARIANTS[config.variant] | {"reduction_factor": config.reduction}
        if config.activation is not None:
            values["non_linearity"] = config.activation
        out = left_out(config.layers, find_spots(model, architecture, taps), taps, model)
        task = Stored("task", Spec(**values, leave_out=out), {})
        return language_of(task, given), task
