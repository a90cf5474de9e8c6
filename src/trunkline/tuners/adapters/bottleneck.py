"""The bottleneck adapter itself: down to a few features, an activation, up again, around a residual connection.

Houlsby et al. 2019 (arXiv 1902.00751) put one after attention and one after the feed-forward part, Pfeiffer et al. 2020
(arXiv 2005.00247, 2005.00052) one after the feed-forward part, He et al. 2022 (arXiv 2110.04366) one beside it. What sets
them apart is a `Spec`, whose fields and values are those of the `adapters` package's configs, so that files can be shared.
Where an adapter sits in a model is told by places.py and stack.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn
from transformers.activations import ACT2FN

from trunkline.errors import BadInput

Location = Literal["attention", "output", "cross"]

# Names that have weights of their own are left out: nothing published uses them.
ACTIVATIONS = ("gelu", "gelu_new", "gelu_fast", "leakyrelu", "mish", "quick_gelu", "relu", "sigmoid", "silu", "swish", "tanh")


class Spec(BaseModel):
    """An adapter's shape and how it is wired; every field is named as the `adapters` package names it.

    h is the output of a sub-block (attention or feed-forward), r the input of its residual connection, LN the norm after
    it; a model with norms in front (gpt2, llama) has no LN here, and LN(h + r) then means h + r.

    Args:
        mh_adapter, output_adapter, cross_adapter: after self-attention, the feed-forward part, cross-attention.
        reduction_factor: width / bottleneck; or by block ("0" is the first) with a "default".
        original_ln_before: the adapter reads LN(h + r) rather than h.
        original_ln_after: the model's own LN(. + r) follows.
        residual_before_ln: what is added to the adapter's output: h (true), what it reads (false), h + r ("post_add").
        ln_before, ln_after: norms of the adapter's own.
        adapter_residual_before_ln: the residual is added before `ln_after`.
        is_parallel: the adapter reads r, and its output is added to h.
        scaling: of its output: a number, one learned number ("learned") or one for each feature ("channel").
        use_gating: its output is weighted by a gate in 0..1, one for each sequence.
        leave_out: blocks without an adapter, numbered as the `adapters` package does (`places.Spot.index`).
        inv_adapter: "nice": an invertible adapter on the embeddings comes along.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    mh_adapter: bool
    output_adapter: bool
    cross_adapter: bool = False
    reduction_factor: float | dict[str, float]
    non_linearity: str
    original_ln_before: bool = False
    original_ln_after: bool = True
    ln_before: bool = False
    ln_after: bool = False
    init_weights: Literal["bert", "mam_adapter", "houlsby"] = "bert"
    is_parallel: bool = False
    scaling: float | Literal["learned", "channel"] = 1.0
    use_gating: bool = False
    residual_before_ln: bool | Literal["post_add"] = True
    adapter_residual_before_ln: bool = False
    inv_adapter: Literal["nice"] | None = None
    inv_adapter_reduction_factor: float | None = None
    leave_out: tuple[int, ...] = ()
    dropout: float = Field(0.0, ge=0, lt=1)

    def at(self, location: Location, index: int) -> bool:
        """Whether an adapter sits at this location of this block."""
        flags = {"attention": self.mh_adapter, "output": self.output_adapter, "cross": self.cross_adapter}
        return flags[location] and index not in self.leave_out

    def inner(self, width: int, index: int) -> int:
        """The bottleneck's width in block `index`."""
        factor = self.reduction_factor
        if isinstance(factor, dict):
            found = factor.get(str(index), factor.get("default"))
            if found is None:
                raise BadInput(f"reduction_factor: found none for block {index} and no default")
            factor = found
        return max(1, _whole(width, factor))

    def coupled(self, inputs: int) -> int:
        """The width within a map of the invertible adapter that takes in so many features."""
        return _whole(inputs, self.inv_adapter_reduction_factor or 2)

    def saved_name(self, parameter: str) -> str:
        """The name that the `adapters` package gives to a parameter of `Bottleneck`."""
        names = {"norm_before": "adapter_down.0", "down": f"adapter_down.{int(self.ln_before)}", "up": "adapter_up"}
        names |= {"norm_after": "adapter_norm_after"}
        module, dot, rest = parameter.partition(".")
        return names.get(module, module) + dot + rest

    def wiring(self) -> tuple[Any, ...]:
        """What adapters that are fused must have in common: where they sit, what they read and what follows them."""
        return (
            *(self.mh_adapter, self.output_adapter, self.cross_adapter, tuple(sorted(self.leave_out)), self.is_parallel),
            *(self.original_ln_before, self.original_ln_after, self.residual_before_ln),
        )


def _whole(width: int, factor: float) -> int:
    if not factor > 0 or not math.isfinite(width // factor):
        raise BadInput(f"reduction factor: found {factor:g}, expected more than 0 and no fewer than the width allows")
    return int(width // factor)


VARIANTS: dict[str, dict[str, Any]] = {
    "pfeiffer": {"mh_adapter": False, "output_adapter": True, "non_linearity": "relu", "original_ln_before": True},
    "houlsby": {"mh_adapter": True, "output_adapter": True, "non_linearity": "swish"},
    "parallel": {
        "mh_adapter": False,
        "output_adapter": True,
        "non_linearity": "relu",
        "is_parallel": True,
        "init_weights": "mam_adapter",
        "scaling": 4.0,
    },
}


def parse_spec(values: Mapping[str, Any], where: str) -> Spec:
    """A Spec from the `config` of an adapter file, of this and of older releases of the `adapters` package.

    Raises:
        BadInput: another method than a bottleneck adapter, a value out of place, or something that is not supported.
    """
    values = dict(values)
    if values.get("architecture") not in (None, "bottleneck"):
        raise BadInput(f"{where}: found method {values['architecture']!r}, expected a bottleneck adapter")
    if isinstance(old := values.get("invertible_adapter"), dict):  # as the first release wrote it
        values |= {"inv_adapter": old.get("block_type"), "inv_adapter_reduction_factor": old.get("reduction_factor")}
    if values.get("inv_adapter") == "glow":
        raise BadInput(f"{where}: found a glow adapter, expected nice (the adapters package 1.3 does not support glow either)")
    for key in ("phm_layer", "stochastic_depth"):
        if values.get(key):
            raise BadInput(f"{where}: found {key}: {values[key]}, which is not supported; expected a plain bottleneck adapter")
    for key in [key for key, value in values.items() if value is None and key != "inv_adapter"]:
        del values[key]
    if isinstance(values.get("non_linearity"), str):
        values["non_linearity"] = values["non_linearity"].lower()
    try:
        spec = Spec.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise BadInput(f"{where}: {'.'.join(map(str, first['loc'])) or 'config'}: {first['msg']}") from None
    if spec.non_linearity not in ACTIVATIONS:
        raise BadInput(f"{where}: non_linearity: found {spec.non_linearity!r}, expected one of {', '.join(ACTIVATIONS)}")
    factors = spec.reduction_factor.values() if isinstance(spec.reduction_factor, dict) else [spec.reduction_factor]
    if any(not factor > 0 for factor in factors):
        raise BadInput(f"{where}: reduction_factor: found {min(factors)}, expected more than 0")
    return spec


class Entry(NamedTuple):
    """What an adapter takes in at a place: what it reads, what is added to its output, what a fusion asks with."""

    reads: Tensor
    residual: Tensor
    query: Tensor


class Bottleneck(nn.Module):
    """One adapter at one place of one block.

    Args:
        width: K, of the states.
        spec: shape and wiring.
        index: the block, in the numbering of `Spec.leave_out`.
    """

    def __init__(self, width: int, spec: Spec, index: int) -> None:
        super().__init__()
        self.spec = spec
        inner = spec.inner(width, index)
        self.norm_before = nn.LayerNorm(width, dtype=torch.float32) if spec.ln_before else None
        self.down = nn.Linear(width, inner, dtype=torch.float32)
        self.up = nn.Linear(inner, width, dtype=torch.float32)
        self.norm_after = nn.LayerNorm(width, dtype=torch.float32) if spec.ln_after else None
        self.gate = nn.Linear(width, 1, dtype=torch.float32) if spec.use_gating else None
        if isinstance(spec.scaling, str):
            self.scaling = nn.Parameter(torch.ones(1 if spec.scaling == "learned" else width, dtype=torch.float32))
        self.activation = activation(spec.non_linearity)
        self.dropout = nn.Dropout(spec.dropout)
        self._initialise()

    def enter(self, h: Tensor, r: Tensor, norm: Callable[[Tensor], Tensor], query_before_norm: bool = False) -> Entry:
        """Wire the adapter up at a place: h, r (B, T, K) as in `Spec`, and `norm`, which may be the identity."""
        spec = self.spec
        if spec.is_parallel:
            return Entry(r, r, r)
        added = h + r if spec.original_ln_before else h
        reads = norm(added) if spec.original_ln_before else h
        residual = {True: h, False: reads, "post_add": added}[spec.residual_before_ln]
        return Entry(reads, residual, h if query_before_norm else reads)

    def forward(self, reads: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output (B, T, K), and what a fusion takes instead: the scaled up-projection without the residual."""
        spec = self.spec
        x = reads if self.norm_before is None else self.norm_before(own_dtype(reads, self.down))
        up = self.up(self.activation(self.down(own_dtype(x, self.down))))
        if isinstance(spec.scaling, str) or spec.scaling != 1:
            up = up * (self.scaling if isinstance(spec.scaling, str) else spec.scaling)
        output = self.dropout(up)
        if self.gate is not None:
            output = output * torch.sigmoid(self.gate(own_dtype(reads, self.gate))).mean(1, keepdim=True)
        if spec.is_parallel:  # its residual is added by the place, to h
            return (output if self.norm_after is None else self.norm_after(output)), up
        if spec.adapter_residual_before_ln:
            output = output + residual
        if self.norm_after is not None:
            output = self.norm_after(own_dtype(output, self.norm_after))
        return (output if spec.adapter_residual_before_ln else output + residual), up

    @torch.no_grad()
    def _initialise(self) -> None:
        """Near the identity, in the ways of the published variants; Linear's own kaiming init is He et al.'s for `down`."""
        layers = [self.down, self.up, *([self.gate] if self.gate is not None else [])]
        for layer in layers:
            nn.init.zeros_(layer.bias)
            if self.spec.init_weights == "mam_adapter" and layer is self.down:
                nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5))
            elif self.spec.init_weights == "mam_adapter" and layer is self.up:
                nn.init.zeros_(layer.weight)
            elif self.spec.init_weights == "houlsby" and layer is not self.gate:
                nn.init.trunc_normal_(layer.weight, std=0.01, a=-0.02, b=0.02)
            else:
                nn.init.normal_(layer.weight, std=0.02)


class Nice(nn.Module):
    """The invertible adapter of a language: an additive coupling of the two halves of an embedding (Dinh et al. 2015,
    arXiv 1410.8516; for adapters Pfeiffer et al. 2020, "MAD-X", arXiv 2005.00052, section 3.3).

    y1 = x1 + F(x2);  y2 = x2 + G(y1)

    Args:
        width: of the embeddings.
        spec: its `non_linearity` and `inv_adapter_reduction_factor`.
    """

    def __init__(self, width: int, spec: Spec) -> None:
        super().__init__()
        first, factor = width // 2, spec.inv_adapter_reduction_factor or 2
        self.widths = (first, width - first)
        self.F, self.G = (_coupling(i, o, factor, spec.non_linearity) for i, o in (self.widths[::-1], self.widths))

    def forward(self, x: Tensor) -> Tensor:
        first, second = own_dtype(x, self.F[0]).split(self.widths, -1)
        first = first + self.F(second)
        second = second + self.G(first)
        return torch.cat((first, second), -1).to(x.dtype)


def _coupling(inputs: int, outputs: int, factor: float, non_linearity: str) -> nn.Sequential:
    inner = _whole(inputs, factor)
    layers = [nn.Linear(inputs, inner, dtype=torch.float32), nn.Linear(inner, outputs, dtype=torch.float32)]
    for layer in layers:
        nn.init.normal_(layer.weight, std=0.02)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(layers[0], activation(non_linearity), layers[1])


def activation(name: str) -> nn.Module:
    """The activation that the `adapters` package calls `name`."""
    return nn.LeakyReLU() if name == "leakyrelu" else ACT2FN[name]


def own_dtype(x: Tensor, layer: nn.Module) -> Tensor:
    """`x` in the dtype of the layer's weights, unless autocast will choose one."""
    return x if torch.is_autocast_enabled(x.device.type) else x.to(layer.weight.dtype)  # type: ignore[arg-type]
