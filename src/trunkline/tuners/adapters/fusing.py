"""The fusion layer: attention over the adapters of a place, for each token (Pfeiffer et al. 2021, "AdapterFusion",
arXiv 2005.00247, section 3.2).

    p = softmax_i( (W_q x) . (W_k a_i) );   out = W_v sum_i p_i a_i + residual

x is what the adapters read and a_i what adapter i adds to it. W_v starts at the identity and is held near it by a penalty.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from trunkline.errors import BadInput
from trunkline.tuners.adapters.bottleneck import own_dtype

PENALTY = 0.01  # the weight of the penalty, in the `adapters` package


class FusionSpec(BaseModel):
    """A fusion's shape, in the `adapters` package's names.

    Args:
        query, key, value: whether there is such a matrix; what it would be applied to is used as it is otherwise.
        query_before_ln: the query is h rather than what the adapters read.
        regularization: the penalty on `value`.
        value_initialized: `value` starts at the identity.
        dropout_prob: of the scores; None: the rate of the model's attention.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    query: bool = True
    key: bool = True
    value: bool = True
    query_before_ln: bool = False
    regularization: bool = True
    value_before_softmax: bool = True  # the same either way: the value has no bias, so sum and matrix change places
    value_initialized: bool = True
    dropout_prob: float | None = None


def parse_fusion(values: Mapping[str, Any], where: str) -> FusionSpec:
    """A FusionSpec from the `config` of a fusion's file; BadInput if it asks for what is not supported."""
    for key in ("temperature", "residual_before"):
        if values.get(key):
            raise BadInput(f"{where}: found {key}: true, which is not supported; expected false")
    values = {key: bool(value) if key == "value_initialized" else value for key, value in values.items()}
    try:
        spec = FusionSpec.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise BadInput(f"{where}: {'.'.join(map(str, first['loc'])) or 'config'}: {first['msg']}") from None
    if not (spec.query or spec.key or spec.value):
        raise BadInput(f"{where}: found no query, key or value; expected a fusion with weights")
    return spec


class FusionLayer(nn.Module):
    """The fusion of one place.

    Args:
        width: K.
        spec: its shape; `dropout_prob` must be a number.
    """

    def __init__(self, width: int, spec: FusionSpec) -> None:
        super().__init__()
        self.spec = spec
        self.query = nn.Linear(width, width, dtype=torch.float32) if spec.query else None
        self.key = nn.Linear(width, width, dtype=torch.float32) if spec.key else None
        self.value = nn.Linear(width, width, bias=False, dtype=torch.float32) if spec.value else None
        self.dropout = nn.Dropout(spec.dropout_prob or 0.0)
        self.totals: dict[str, float] | None = None  # sums of attention over tokens, while somebody asks for them
        self.tokens = 0.0
        self.mask: list[Tensor | None] = [None]
        with torch.no_grad():
            for layer in (self.query, self.key):
                if layer is not None:
                    nn.init.normal_(layer.weight, std=0.02)
                    nn.init.zeros_(layer.bias)
            if self.value is not None and spec.value_initialized:
                self.value.weight.fill_(1e-6).fill_diagonal_(1.0)
            elif self.value is not None:
                nn.init.normal_(self.value.weight, std=0.02)

    def forward(self, query: Tensor, ups: Mapping[str, Tensor], residual: Tensor) -> Tensor:
        """Return (B, T, K): the weighted sum of `ups`, the adapters' outputs by name, and `residual`."""
        stacked = torch.stack(list(ups.values()), 2)  # (B, T, n, K)
        asked = query if self.query is None else self.query(own_dtype(query, self.query))
        offset: Tensor | float = 0.0
        if self.key is not None:  # q . (W a + b) = (W^T q) . a + q . b: one product instead of one for each adapter
            asked = own_dtype(asked, self.key)
            offset = (asked * self.key.bias).sum(-1, keepdim=True)
            asked = asked @ self.key.weight.to(asked.dtype)
        scores = (stacked @ asked.to(stacked.dtype).unsqueeze(-1)).squeeze(-1) + offset  # (B, T, n)
        shares = self.dropout(scores).float().softmax(-1)
        if self.totals is not None and not self.training:
            self._count(shares.detach(), list(ups))
        fused = (shares.to(stacked.dtype).unsqueeze(2) @ stacked).squeeze(2)
        if self.value is not None:
            fused = self.value(own_dtype(fused, self.value))
        return fused + residual

    def penalty(self) -> Tensor | float:
        """How far `value` is from the identity, squared and weighted."""
        if self.value is None or not self.spec.regularization:
            return 0.0
        weight = self.value.weight
        return PENALTY * (weight - torch.eye(len(weight), dtype=weight.dtype, device=weight.device)).square().sum()

    def _count(self, shares: Tensor, names: list[str]) -> None:
        mask = self.mask[0]
        if mask is not None and mask.shape == shares.shape[:2]:
            shares = shares[mask.bool()]
        sums = shares.reshape(-1, len(names)).sum(0).tolist()
        self.tokens += shares.numel() / len(names)
        assert self.totals is not None
        for name, total in zip(names, sums, strict=True):
            self.totals[name] = self.totals.get(name, 0.0) + total
