"""An ensemble: several branches of one task as one, whose logits are the weighted sum of theirs.

    logits = sum_m w_m logits_m

Its members are any side branches. Trained ones are put together by the command `ensemble`, which chooses the w; a run whose
method is `ensemble` trains its members as one. In a group they are computed among all other branches, stacked with those of
their shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, ValidationError, field_validator
from torch import Tensor, nn

from trunkline.branches.fold import BranchConfig, LayerState, Output, SideBranch, TrunkShape, methods
from trunkline.errors import BadInput
from trunkline.inputs.batching import Layout


class EnsembleConfig(BranchConfig):
    """`method: {name: ensemble}`."""

    name: Literal["ensemble"] = "ensemble"
    members: list[str | dict[str, Any]] = Field(
        ["adalayers", "probe"],
        validate_default=True,
        min_length=1,
        max_length=1000,
        description="side branches, each as a `method:` section or its name",
    )
    weights: list[float] | None = Field(
        None, description="what the logits of each member are multiplied by; by default 1 divided by their number"
    )

    @field_validator("members")
    @classmethod
    def _sections(cls, members: list[str | dict[str, Any]]) -> list[str | dict[str, Any]]:
        return [_section(member).model_dump(mode="json") for member in members]

    @field_validator("weights")
    @classmethod
    def _positive(cls, weights: list[float] | None) -> list[float] | None:
        if weights is not None and not (all(0 <= weight < float("inf") for weight in weights) and any(weights)):
            raise ValueError("expected numbers that are not negative, one of them above 0")
        return weights

    @classmethod
    def upgrade(cls, section: dict[str, Any], schema: int) -> dict[str, Any]:
        members = [methods.get(own["name"]).Config.upgrade(own, schema) for own in section["members"]]
        return {**section, "members": members}


def _section(member: Any) -> Any:
    """The config of a member, whole. ValueError if it is none, or not of a side branch."""
    values = {"name": member} if isinstance(member, str) else member
    if isinstance(values, BranchConfig):
        return values
    if not isinstance(values.get("name"), str):
        raise ValueError("expected the name of a side branch, or a section with a name")
    method = methods.get(values["name"])
    if not issubclass(method, SideBranch) or method is Ensemble:
        raise ValueError(f"found {values['name']}, expected a side branch, and no ensemble")
    try:
        return method.Config.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{values['name']}: {place}: {first['msg'][:1].lower()}{first['msg'][1:]}") from None


@methods.register("ensemble")
class Ensemble(SideBranch):
    """See the module's docstring."""

    Config: ClassVar[type[BranchConfig]] = EnsembleConfig

    def __init__(self, config: Any, trunk: TrunkShape, output: Output) -> None:
        super().__init__(config, trunk, output)
        sections = [_section(member) for member in config.members]
        if config.weights is not None and len(config.weights) != len(sections):
            raise BadInput(
                f"found {len(config.weights)} for {len(sections)} members, expected one for each", key="method.weights"
            )
        self.weights = tuple(config.weights or [1 / len(sections)] * len(sections))
        self.members = nn.ModuleList(methods.get(own.name)(own, trunk, output) for own in sections)
        self.layers = tuple(sorted({layer for member in self._own() for layer in member.layers}))

    def _own(self) -> list[SideBranch]:
        return [member for member in self.members if isinstance(member, SideBranch)]

    def mixture(self) -> Sequence[tuple[SideBranch, float]]:
        return [(member, weight) for member, weight in zip(self._own(), self.weights, strict=True) if weight]

    def wanted(self) -> tuple[int, ...]:
        return tuple(sorted({layer for member, _ in self.mixture() for layer in member.wanted()}))

    def read(self, carry: Sequence[Any] | None, layer: int, state: LayerState) -> Sequence[Any]:
        mixture = self.mixture()
        carries = carry or [None] * len(mixture)
        return [member.read(own, layer, state) for (member, _), own in zip(mixture, carries, strict=True)]

    def finish(self, carry: Sequence[Any] | None, layout: Layout, rows: Tensor | None = None) -> Tensor:
        mixture = self.mixture()
        carries = carry or [None] * len(mixture)
        logits = [weight * member.finish(own, layout, rows) for (member, weight), own in zip(mixture, carries, strict=True)]
        return torch.stack(logits).sum(0)

    def measures(self) -> tuple[int, ...]:
        return tuple(sorted({layer for member in self._own() for layer in member.measures()}))

    def standardise(self, moments: Mapping[int, tuple[Tensor, Tensor]]) -> None:
        for member in self._own():
            member.standardise(moments)

    def examines(self) -> None:
        for number, member in enumerate(self._own()):
            if member.examines() is not None:
                name = self.config.members[number]["name"]
                way = "trained by itself, and put together with others by `trunkline ensemble`"
                raise BadInput(f"found {name}, which looks at training examples first; expected it {way}", key="method.members")

    def penalty(self) -> Tensor | float:
        return sum((member.penalty() for member in self._own()), 0.0)

    def bind(self, model: nn.Module) -> None:
        for member in self._own():
            member.bind(model)

    def layer_weights(self) -> dict[int, float]:
        """The mean of the members' own, weighted as their logits are; of those that have some."""
        known = [(member.layer_weights(), weight) for member, weight in self.mixture()]
        total = sum(weight for shares, weight in known if shares)
        layers = sorted({layer for shares, _ in known for layer in shares} | set(self.layers))
        if not total:
            return {}
        return {layer: sum(weight * shares.get(layer, 0.0) for shares, weight in known) / total for layer in layers}

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        return [group for member in self._own() for group in member.parameter_groups(weight_decay)]
