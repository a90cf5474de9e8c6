"""What makes the input of a trunk: of texts by its tokenizer, of audio clips by its feature extractor."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from trunkline.errors import BadInput
from trunkline.inputs.audio import AudioProcessor
from trunkline.inputs.text import TextProcessor
from trunkline.trunk.architectures import Architecture, StackName

DEFAULT_LENGTH = 512
"""Bound on `Trunk.max_length` where a model reaches further: attention costs its square, and few texts need more."""
DEFAULT_SECONDS = 30
"""The same of audio clips, where a model has no positions that bound it."""


@dataclass(frozen=True)
class Processing:
    """How a trunk reads.

    Attributes:
        processor: what makes sequences and batches; threads may share it.
        longest_input (int | None): most tokens or rows that the model has positions for.
        max_length (int): the default length.
        vocabulary (int): token ids that the model knows; 0 of audio.
        pad_id (int): what stands in a padded place.
    """

    processor: TextProcessor | AudioProcessor
    longest_input: int | None
    max_length: int
    vocabulary: int
    pad_id: int


def of_text(
    row: Architecture, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, accepted: Collection[str], stack: StackName
) -> Processing:
    """That of a model that is given token ids; `accepted` are the arguments of its call."""
    config = model.config
    longest, vocabulary = row.positions(config), model.get_input_embeddings().num_embeddings
    # A decoder reads the text one token later, so that padding before it would become tokens.
    left = tokenizer.padding_side == "left" and row.left != "never" and stack == "encoder"
    # gpt2 and llama have no pad token; what stands there is masked, so any will do.
    ends = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    pad_id = next(i for i in ends if i is not None and i < vocabulary)
    processor = TextProcessor(
        tokenizer,
        pad_id=pad_id,
        pad_left=left,
        with_positions=left and row.left == "positions",
        with_segments="token_type_ids" in accepted and getattr(config, "type_vocab_size", 0) > 1,
        longest=longest,
    )
    length = min(longest or DEFAULT_LENGTH, tokenizer.model_max_length, DEFAULT_LENGTH)
    return Processing(processor, longest, length, vocabulary, pad_id)


def of_audio(row: Architecture, config: PretrainedConfig, extractor: Any, folder: Path, name: str) -> Processing:
    """That of a model that is given features of audio clips.

    Raises:
        BadInput: the feature extractor is not one of this architecture, or makes something else than the model is given.
    """
    assert row.front is not None
    other = BadInput(f"{folder}: found a {type(extractor).__name__}, expected the feature extractor of a {row.model_type}")
    try:
        front = row.front(extractor, config)
    except BadInput as error:
        raise BadInput(f"{folder}: {error}") from None
    except (AttributeError, TypeError, ValueError):
        raise other from None
    if front.key not in extractor.model_input_names:
        raise other
    longest = row.positions(config)
    length = longest
    if length is None:
        length = 1
        while front.samples(length + 1) <= DEFAULT_SECONDS * front.rate:
            length += 1
    return Processing(AudioProcessor(front, name), longest, length, 0, 0)
