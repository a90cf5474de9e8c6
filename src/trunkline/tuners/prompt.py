"""Prompt tuning: trained vectors stand before the embeddings of every sequence, and nothing else changes (Lester, Al-Rfou and
Constant 2021, "The Power of Scale for Parameter-Efficient Prompt Tuning", arXiv 2104.08691).

The vectors lie in the peft library's own module. The library's wrapper is not used, as it drops the segments of pairs and
the positions of sequences padded on the left, and does not know the width of every model's embeddings.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from peft import PromptTuningConfig
from peft.tuners.prompt_tuning import PromptEmbedding
from pydantic import BaseModel, Field
from torch import Tensor, nn
from transformers import PreTrainedModel

from trunkline.branches.fold import methods
from trunkline.errors import BadInput
from trunkline.trunk.architectures import Architecture, Taps
from trunkline.tuners.base import Tuner, TunerConfig


class PromptConfig(TunerConfig):
    """`method: {name: prompt}`."""

    name: Literal["prompt"] = "prompt"
    virtual_tokens: int = Field(20, ge=1, description="trained vectors before each sequence; they occupy positions")


@methods.register("prompt")
class Prompt(Tuner):
    """See the module's docstring. The vectors start as embeddings of tokens drawn from the vocabulary."""

    Config: ClassVar[type[BaseModel]] = PromptConfig
    target = "peft"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.virtual_tokens = self.positions = config.virtual_tokens

    def apply(self, model: PreTrainedModel, architecture: Architecture, taps: Taps) -> Any:
        self.peft_config = PromptTuningConfig(
            num_virtual_tokens=self.virtual_tokens, prompt_tuning_init="SAMPLE_VOCAB", **prompt_shape(model, taps)
        )
        encoder = PromptEmbedding(self.peft_config, model.get_input_embeddings())
        return Prompted(model, architecture, encoder, self.virtual_tokens)


def prompt_shape(model: PreTrainedModel, taps: Taps) -> dict[str, Any]:
    """What the library's configs of prompts ask of a model; the width is that of its embeddings, which is not always K."""
    words: Any = model.get_input_embeddings()
    shape = {"token_dim": words.embedding_dim, "num_layers": len(taps.blocks), "num_transformer_submodules": 1}
    return {**shape, "num_attention_heads": model.config.num_attention_heads}


class Before(nn.Module):
    """Around a model: what stands before every sequence, and is attended to by its tokens.

    Args:
        model: is called with one mask for both.
        architecture: its row of the table.
        encoder: the library's module that makes what stands before, from the numbers 0 to `count` - 1.
        count: how many tokens that is.

    Raises:
        BadInput: the model has no positions for as many.
    """

    numbers: Tensor

    def __init__(self, model: PreTrainedModel, architecture: Architecture, encoder: nn.Module, count: int) -> None:
        super().__init__()
        self.model, self.encoder, self.count = model, encoder, count
        self.limit = architecture.positions(model.config)
        self.register_buffer("numbers", torch.arange(count), persistent=False)
        self._check(1)

    def _check(self, longest: int) -> None:
        if self.limit is not None and self.count + longest > self.limit:
            raise BadInput(
                f"found {self.count} with {longest} tokens of text, "
                f"expected at most {self.limit} in all, the positions of this trunk",
                key="method.virtual_tokens",
            )

    def _lengthened(self, mask: Tensor) -> Tensor:
        """The mask (B, T) with what stands before, (B, count + T)."""
        self._check(mask.shape[1])
        return torch.cat((mask.new_ones(len(mask), self.count), mask), 1)


class Prompted(Before):
    """Vectors before the embeddings of every sequence: the states have `count` rows more."""

    def __init__(self, model: PreTrainedModel, architecture: Architecture, encoder: nn.Module, count: int) -> None:
        super().__init__(model, architecture, encoder, count)
        if hasattr(model, "decoder") and hasattr(model, "encoder"):
            raise BadInput(
                f"found a prompt for the decoder of {architecture.model_type}, which derives its input from that of its "
                "encoder; expected a trunk with one stack",
                key="method",
            )
        # Models that count positions by the padding that they see in the ids do not see it in embeddings.
        counts = architecture.left == "itself" and self.limit is not None
        self.padding: int | None = model.embeddings.padding_idx if counts else None

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        **options: Any,
    ) -> Any:
        """Call the model with embeddings; the arguments are those of `Trunk.collate`."""
        embedded = self.model.get_input_embeddings()(input_ids)
        prompt = self.encoder(self.numbers[None]).to(embedded.dtype).expand(len(embedded), -1, -1)
        mask = self._lengthened(torch.ones_like(input_ids) if attention_mask is None else attention_mask)
        if token_type_ids is not None:
            options["token_type_ids"] = torch.cat((token_type_ids.new_zeros(len(mask), self.count), token_type_ids), 1)
        if position_ids is not None:
            options["position_ids"] = torch.cat((self.numbers.expand(len(mask), -1), position_ids + self.count), 1)
        elif self.padding is not None:
            options["position_ids"] = mask.cumsum(1) * mask + self.padding
        return self.model(inputs_embeds=torch.cat((prompt, embedded), 1), attention_mask=mask, **options)
