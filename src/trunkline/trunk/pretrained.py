"""What transformers reads of a folder: config, tokenizer or feature extractor, and model; what is wrong with one is said in a
sentence.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import (
    MODEL_MAPPING,
    AutoConfig,
    AutoFeatureExtractor,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from trunkline.errors import BadInput
from trunkline.trunk.architectures import Architecture, StackName


def read_model_config(folder: Path) -> PretrainedConfig:
    """The config of a folder; BadInput where it cannot be used."""
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # anything at all can be wrong in a folder's files
        raise BadInput(f"{folder / 'config.json'}: cannot be used ({_one_line(error)})") from error
    # How attention is computed moves the states by rounding, and may name code on the hub: the library's own choice holds.
    config._attn_implementation = config._experts_implementation = None
    return without_masking(config)


def without_masking(config: PretrainedConfig) -> PretrainedConfig:
    """Switch off SpecAugment, which masks speech in training alone, in place: with it, wav2vec2 has a vector that no state
    depends on, and that many checkpoints lack.
    """
    for key in ("mask_time_prob", "mask_feature_prob"):
        if hasattr(config, key):
            setattr(config, key, 0.0)
    return config


def load_extractor(folder: Path) -> Any:
    """The feature extractor of a folder; BadInput where there is none."""
    known = ("preprocessor_config.json", "processor_config.json")
    if not any((folder / name).is_file() for name in known):
        raise BadInput(f"{folder}: no feature extractor; expected {known[0]} next to config.json")
    try:
        return AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # anything at all can be wrong in a folder's files
        raise BadInput(f"{folder}: its feature extractor cannot be loaded ({_one_line(error)})") from error


def load_tokenizer(folder: Path, config: PretrainedConfig) -> PreTrainedTokenizerFast:
    """The tokenizer of a folder; BadInput where there is none, or one without character offsets."""
    known = (
        "tokenizer.json",
        "vocab.txt",
        "vocab.json",
        "spiece.model",
        "sentencepiece.bpe.model",
        "spm.model",
        "tokenizer.model",
    )
    if not any((folder / name).is_file() for name in known):
        raise BadInput(f"{folder}: no tokenizer; expected tokenizer.json or another tokenizer file next to config.json")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, config=config, trust_remote_code=False, local_files_only=True)
    except Exception as error:
        raise BadInput(f"{folder}: its tokenizer cannot be loaded ({_one_line(error)})") from error
    if not tokenizer.is_fast:
        raise BadInput(
            f"{folder}: {type(tokenizer).__name__} provides no character offsets; expected a fast tokenizer (tokenizer.json)"
        )
    # Some checkpoints ship with padding and truncation switched on; both are this package's business.
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def load_model(
    folder: Path, config: PretrainedConfig, row: Architecture, stack: StackName, dtype: torch.dtype
) -> PreTrainedModel:
    """The model of a folder, or of one of its stacks, with all of its weights; BadInput where some are missing."""
    try:
        kind = model_class(row, config, stack)
        bare = {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(kind.__init__).parameters else {}
        model, report = kind.from_pretrained(
            folder, config=config, dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True, **bare
        )
    except Exception as error:
        raise BadInput(f"{folder}: its {row.model_type} cannot be loaded ({_one_line(error)})") from error
    if missing := sorted(report["missing_keys"]):  # the library would fill these with random numbers
        raise BadInput(
            f"{folder}: {len(missing)} tensors of a {row.model_type} are missing from its weights, such as {missing[0]}"
        )
    if stack == "decoder" and row.shifts:
        if getattr(config, "decoder_start_token_id", None) is None:
            raise BadInput(f"{folder / 'config.json'}: no decoder_start_token_id; expected the id that its decoder begins with")
        model.register_forward_pre_hook(_text_for_decoder, with_kwargs=True)
    return model.get_encoder() if row.cut_out(stack) else model


def _text_for_decoder(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    # As BartModel does, and T5ForSequenceClassification: the decoder reads the text too, one token later.
    if kwargs.get("decoder_input_ids") is None and kwargs.get("decoder_inputs_embeds") is None:
        kwargs = {**kwargs, "decoder_input_ids": model._shift_right(kwargs["input_ids"])}
    return args, kwargs


def model_class(row: Architecture, config: PretrainedConfig, stack: StackName) -> type[PreTrainedModel]:
    """The class that a trunk which reads `stack` is loaded as: without a head."""
    return getattr(transformers, row.load_as[stack]) if stack in row.load_as else MODEL_MAPPING[type(config)]


def cast(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """Change the precision of weights only: tables that a model computes for itself (rotary angles) stay float32."""
    saved = model.state_dict().keys()
    tensors: list[Tensor] = [*model.parameters(), *(b for name, b in model.named_buffers() if name in saved)]
    for tensor in tensors:
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(dtype)
    return model


def _one_line(error: Exception) -> str:
    return textwrap.shorten(str(error) or type(error).__name__, 200)


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Keep transformers from drawing progress bars and reporting left-out heads on stderr while it loads."""
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
