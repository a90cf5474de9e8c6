"""Prefix tuning: every block's attention sees trained keys and values before those of the text (Li and Liang 2021,
"Prefix-Tuning", arXiv 2101.00190; for classification Liu et al. 2022, "P-Tuning v2", arXiv 2110.07602).

They lie in the peft library's own module, and reach a model as a cache of past keys and values; so positions of the text
start after them, as they do there. Models whose attention takes no such cache are refused.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from peft import PrefixTuningConfig
from peft.tuners.prefix_tuning import PrefixEncoder
from pydantic import BaseModel, Field
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from trunkline.branches.fold import methods
from trunkline.errors import BadInput
from trunkline.trunk.architectures import Architecture, Taps
from trunkline.tuners.base import Tuner, TunerConfig
from trunkline.tuners.prompt import Before

# Those whose blocks take past keys and values in transformers 5 when they are called for their states.
TAKES_PAST = ("bert", "roberta", "xlm-roberta", "electra", "gpt2", "llama", "qwen2", "qwen3")


class PrefixConfig(TunerConfig):
    """`method: {name: prefix}`."""

    name: Literal["prefix"] = "prefix"
    virtual_tokens: int = Field(20, ge=1, description="trained keys and values before each sequence; they occupy positions")


@methods.register("prefix")
class Prefix(Tuner):
    """See the module's docstring."""

    Config: ClassVar[type[BaseModel]] = PrefixConfig
    target = "peft"
    recomputes = False  # transformers then gives blocks no keys and values from outside

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.positions = config.virtual_tokens

    def apply(self, model: PreTrainedModel, architecture: Architecture, taps: Taps) -> Any:
        self.peft_config = prefix_config(model, architecture, num_virtual_tokens=self.positions)
        return Prefixed(model, architecture, PrefixEncoder(self.peft_config), self.positions)


def prefix_config(model: PreTrainedModel, architecture: Architecture, **parameters: Any) -> PrefixTuningConfig:
    """The library's config for this model's keys and values; BadInput if it takes none from outside."""
    if architecture.model_type not in TAKES_PAST:
        raise BadInput(
            f"method prefix: the attention of {architecture.model_type} accepts no external keys and values in "
            f"transformers 5; expected one of {', '.join(TAKES_PAST)}, or method prompt"
        )
    config = model.config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    shape = {"num_layers": config.num_hidden_layers, "token_dim": heads * width, "num_attention_heads": heads}
    return PrefixTuningConfig(
        **{"num_transformer_submodules": 1, "encoder_hidden_size": config.hidden_size, **shape, **parameters}
    )


class Prefixed(Before):
    """Keys and values before those of every sequence; the states have no more rows for it."""

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, position_ids: Tensor | None = None, **options: Any
    ) -> Any:
        """Call the model with a cache that holds the prefix; the arguments are those of `Trunk.collate`."""
        mask = self._lengthened(torch.ones_like(input_ids) if attention_mask is None else attention_mask)
        config = self.model.config
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        # (1, n, layers * 2 * heads * width) to pairs (B, heads, n, width), one for each block, laid out as in the library
        flat = self.encoder(self.numbers[None]).to(self.model.dtype)
        parts = flat.view(self.count, 2 * config.num_hidden_layers, heads, -1).permute(1, 2, 0, 3)
        past = parts[:, None].expand(-1, len(mask), -1, -1, -1)
        cache = DynamicCache([(key, value) for key, value in zip(past[::2], past[1::2], strict=True)])
        if position_ids is not None:
            options["position_ids"] = position_ids + self.count
        return self.model(input_ids=input_ids, attention_mask=mask, past_key_values=cache, **options)
