"""The family that `method: auto` chooses from: configs of side branches, each with a learning rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trunkline.branches import Output, TrunkShape, methods
from trunkline.training.config import RunConfig

LAYERS = 5  # layers that are tried alone, at most: at equal distances, the last among them
LINEAR = ("probe", "scalar_mix", "head2toe")
# Rates of deep candidates. All are compared at the first; the best are trained to the end with every one of them, as the rate
# that is best after few steps is often not the best one of a whole training (Wu et al. 2018, arXiv 1803.02021).
DEEP_RATES = (3e-3, 1e-3)


@dataclass(frozen=True)
class Candidate:
    """A method with a learning rate.

    Attributes:
        method: its config.
        learning_rate: at its peak.
    """

    method: Any
    learning_rate: float

    @property
    def linear(self) -> bool:
        """Whether it is a linear map of states, or of a mixture of them."""
        return self.method.name in LINEAR

    @property
    def name(self) -> str:
        """The method, the keys that are not as by default, and the rate."""
        default = type(self.method)(name=self.method.name)
        keys = {key: value for key, value in self.method.model_dump().items() if value != getattr(default, key)}
        settings = [f"{key} {value}" for key, value in keys.items()]
        return ", ".join([self.method.name, *settings, f"rate {self.learning_rate:g}"])


def family(trunk: TrunkShape, output: Output, learning_rate: float | None = None) -> list[Candidate]:
    """The candidates for a task, those first that are to take part where the budget does not pay for all.

    Routing is not among them, as it takes many times as long as AdaLayers; nor is variability, which is a single layer.

    Args:
        trunk: whose layers they read.
        output: what the task asks for.
        learning_rate: of all candidates; None: each has those that suit it.
    """
    deep = trunk.num_layers
    some = sorted({round(deep * (number + 1) / LAYERS) for number in range(LAYERS)} - {0}, reverse=True)
    middle = some[len(some) // 2]
    everything = {"fraction": 1.0, "selection_steps": 1}  # of all layers' features: nothing is selected
    standard = {**everything, "normalisation": "per_feature"}
    found = [_of("probe", 1e-2, layer=deep), _of("head2toe", 1e-2, **everything), _of("scalar_mix", 1e-2)]
    found += [_of("probe", 1e-2, layer=middle), _of("head2toe", 1e-3, **standard), _of("probe", 3e-2, layer=deep)]
    found += [_of("head2toe", 3e-2, **everything), _of("scalar_mix", 3e-2), _of("head2toe", 1e-2)]
    found += [_of("head2toe", 3e-3, **everything), _of("head2toe", 1e-2, **standard)]
    found += [_of("probe", 1e-2, layer=layer) for layer in some]
    rate = DEEP_RATES[0]
    found += [_of("adalayers", rate), _of("single_layer", rate, layer=middle)]
    if output.level == "text":
        found.append(_of("adalayers", rate, head="encoder", positions=True))
    found += [_of("ladder", rate), _of("adalayers", rate, dim=192), _of("single_layer", rate, layer=deep)]
    found += [_of("adalayers", rate, dim=64), _of("single_layer", rate, layer=some[-1])]
    if learning_rate is not None:
        found = [Candidate(one.method, learning_rate) for one in found]
    return list({one.name: one for one in found}.values())


def other_rates(candidate: Candidate, learning_rate: float | None = None) -> list[Candidate]:
    """A deep candidate with the rates that it was not compared at; none where the config has one for all."""
    rates = [] if candidate.linear or learning_rate is not None else DEEP_RATES
    return [Candidate(candidate.method, rate) for rate in rates if rate != candidate.learning_rate]


def reference() -> Any:
    """The method that costs are measured against: AdaLayers as it is by default."""
    return methods.get("adalayers").Config(name="adalayers")


def references(learning_rate: float | None = None) -> list[Candidate]:
    """AdaLayers as it is by default, with each rate of deep candidates; or with the one that the config has for all."""
    rates = DEEP_RATES if learning_rate is None else (learning_rate,)
    return [Candidate(reference(), rate) for rate in rates]


def plain(config: RunConfig) -> RunConfig:
    """The config with that in the place of auto."""
    method, training = reference(), config.training
    rate = training.learning_rate or method.LEARNING_RATE
    return config.model_copy(update={"method": method, "training": training.model_copy(update={"learning_rate": rate})})


def _of(name: str, rate: float, **keys: Any) -> Candidate:
    return Candidate(methods.get(name).Config(name=name, **keys), rate)
