"""The plain head of the published recipes: what transformers itself puts on a trunk to classify texts or tokens.

The head is that library's own (`AutoModelForSequenceClassification`, `AutoModelForTokenClassification`) for the trunk's
architecture, with the trunk inside replaced by a stand-in that answers with the layer state at hand. So it is the same for
every architecture without knowing any: BERT's pooler, RoBERTa's two layers on the first token, GPT-2's last real token.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    MODEL_MAPPING,
    PretrainedConfig,
    PreTrainedModel,
)

from trunkline.branches.fold import LayerState, Output, SideBranch, TrunkShape
from trunkline.branches.heads import PooledHead
from trunkline.inputs.batching import Layout
from trunkline.trunk.architectures import StackName, find_taps

# The dummy ids that mark the end of a text for a head: GPT-2's looks for the last token that is no padding, BART's for the end.
PAD, TOKEN, END = 0, 1, 2


class PlainHead(SideBranch):
    """Reads the last layer only. Where the library has no such head (T5 for texts, the encoder of BART), it is a `PooledHead`:
    of the mean of the tokens, the last token of a decoder, or the units' own.

    A pooler that belongs to the base model (BERT, ALBERT) is frozen, as it is for every method but those that change it; all
    else is trained.

    Args:
        model_config: of the trunk's model.
        output: what the task asks for.
        folder: the trunk's weights, for the parts of the head that were pretrained with it; None draws them all anew.
        stack: which stack of an encoder-decoder is read.

    Attributes:
        model: the library's class around a stand-in; None where it has none.
        pooler: the base model's own pooler, for the model that a tuner changes; None once that has it (see `bind`).
    """

    def __init__(
        self, model_config: PretrainedConfig, output: Output, folder: Path | None = None, *, stack: StackName = "encoder"
    ) -> None:
        model = _library_model(model_config, output, stack)
        found = model if model is not None else _meta(MODEL_MAPPING[type(model_config)], model_config)
        num_layers = len(find_taps(found, stack).states)
        super().__init__(None, TrunkShape(num_layers, model_config.hidden_size), output)
        self.layers = (num_layers,)
        self._changed: list[nn.Module] = []  # in a list, so that it is no submodule
        self.pooler: nn.Module | None = None
        self.activation: nn.Module | None = None  # what ALBERT has outside of its pooler
        self.model, self.pooled = model, None
        if model is None:
            self.pooled = PooledHead(model_config.hidden_size, output, None, 0.1)
            if stack == "decoder" and output.level == "text":
                self.pooled.pooling = "last"
            return
        base, self.base_name = model.base_model, model.base_model_prefix
        self.pooler, self.activation = getattr(base, "pooler", None), getattr(base, "pooler_activation", None)
        setattr(model, self.base_name, _StandIn())
        _materialise(model, model)
        if self.pooler is not None:
            _materialise(self.pooler, model)
        if folder is not None:
            self._read_pretrained(folder)
        if self.pooler is not None:
            self.pooler.requires_grad_(False)

    def bind(self, model: nn.Module) -> None:
        """From now on the pooler is `model`'s, where a tuner may have wrapped or replaced it, and no part of this head."""
        if self.pooler is not None or self._changed:
            holders = (m for m in model.modules() if isinstance(m, PreTrainedModel) and getattr(m, "pooler", None) is not None)
            self._changed, self.pooler = [next(holders)], None

    def current_pooler(self) -> Any:
        """The pooler that is called now; None if the head has none."""
        return self._changed[0].pooler if self._changed else self.pooler

    def read(self, carry: Tensor | None, layer: int, state: LayerState) -> Tensor | None:
        return state.rows if layer in self.layers else carry

    def finish(self, carry: Tensor | None, layout: Layout, rows: Tensor | None = None) -> Tensor:
        if carry is None:
            raise ValueError(f"layer {self.layers[0]} is required but was not read")
        if self.pooled is not None:
            return self.pooled(carry, layout, rows).float()
        if self.output.level == "unit":  # these heads look at each token by itself
            tokens = (carry if rows is None else carry[rows])[None]
            return self._run(tokens, torch.ones(tokens.shape[:2], dtype=torch.long, device=carry.device))[0]
        mask = layout.mask.long()
        ids = mask * TOKEN + PAD
        ids[torch.arange(len(ids), device=ids.device), layout.lengths - 1] = END
        return self._run(layout.pad(carry), mask, ids)

    def _run(self, states: Tensor, mask: Tensor, ids: Tensor | None = None) -> Tensor:
        assert self.model is not None
        token = _GIVEN.set(_Given((states, self._pool(states))))
        try:
            return self.model(input_ids=mask if ids is None else ids, attention_mask=mask).logits.float()
        finally:
            _GIVEN.reset(token)

    def _pool(self, states: Tensor) -> Tensor | None:
        pooler: Any = self.current_pooler()
        if pooler is None:
            return None
        # A frozen pooler may be held in bf16.
        first = states[:, :1].to(next(pooler.parameters()).dtype)
        pooled = pooler(first) if self.activation is None else self.activation(pooler(first[:, 0]))
        return pooled.to(states.dtype)

    def dense(self, states: Mapping[int, Tensor], mask: Tensor) -> Tensor:
        rows = states[self.layers[0]]
        if self.pooled is not None:
            return self.pooled.dense(rows, mask)
        if self.output.level == "unit":
            return self._run(rows, mask.long())
        real = mask.long()
        last = torch.arange(rows.shape[1], device=rows.device) == real.sum(1, keepdim=True) - 1
        return self._run(rows, real, torch.where(last, END, real * TOKEN + PAD))

    def layer_weights(self) -> dict[int, float]:
        return {self.layers[0]: 1.0}

    def _pretrained(self) -> Iterator[tuple[tuple[str, ...], Tensor]]:
        """Each tensor of the head with the names that a checkpoint may have for it: with or without the base model's prefix."""
        assert self.model is not None
        yield from (((name,), value) for name, value in self.model.state_dict().items())
        if self.pooler is not None:
            names = ((f"pooler.{name}", value) for name, value in self.pooler.state_dict().items())
            yield from (((name, f"{self.base_name}.{name}"), value) for name, value in names)

    @torch.no_grad()
    def _read_pretrained(self, folder: Path) -> None:
        for file in sorted(folder.glob("*.safetensors")):
            with safe_open(file, framework="pt") as tensors:
                stored = set(tensors.keys())
                for names, value in self._pretrained():
                    for name in stored.intersection(names):
                        if tuple(tensors.get_slice(name).get_shape()) == tuple(value.shape):
                            value.copy_(tensors.get_tensor(name))


class _Given(tuple):
    """What a base model answers: (last_hidden_state, pooler_output). All else that it might tell is None."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[0] if name == "last_hidden_state" else None


# Per thread, as branches may be read by several at once.
_GIVEN: ContextVar[_Given] = ContextVar("given")


class _StandIn(nn.Module):
    """Stands where the base model was, and answers with what is given."""

    def forward(self, *args: Any, **kwargs: Any) -> _Given:
        return _GIVEN.get()


def _library_model(model_config: PretrainedConfig, output: Output, stack: StackName) -> PreTrainedModel | None:
    """The library's class for this trunk and level, without weights; None if it has none that reads this stack alone."""
    mapping = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING if output.level == "text" else MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING
    kind = mapping.get(type(model_config), None)
    if kind is None:
        return None
    config = copy.deepcopy(model_config)
    config.num_labels, config.pad_token_id, config.eos_token_id = output.size, PAD, END
    model = _meta(kind, config)
    both = hasattr(model.base_model, "encoder") and hasattr(model.base_model, "decoder")
    return model if both == (stack == "decoder") else None


def _meta(kind: type[PreTrainedModel], config: PretrainedConfig) -> PreTrainedModel:
    with torch.device("meta"):
        return kind(copy.deepcopy(config))


@torch.no_grad()
def _materialise(module: nn.Module, model: PreTrainedModel) -> None:
    """Give a module from the meta device weights as the library draws them, in float32."""
    module.to_empty(device="cpu").float()
    for part in module.modules():
        model._init_weights(part)
