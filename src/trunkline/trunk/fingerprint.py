"""Which trunk is this: a sha256 each of its weights, of what its tokenizer does, and of the settings of the model and of the
tokenizer; of a trunk that reads audio, of its feature extractor in place of the tokenizer.

All are the same wherever a trunk lies, in however many files, and in whatever precision it was loaded, so a branch can
tell that it meets the trunk it was made for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedTokenizerFast

# What a tokenizer does is told by its vocabulary and by what it makes of these: case, accents, blanks, numbers, marks,
# scripts, composed and decomposed letters, emoji with joiners, control characters.
_PROBES = [
    "", " ", "Hello, world!", "hello WORLD  two  blanks\ttab\nline", " leading and trailing ", "don't can't I'll it's",
    "1234567890 3.14 1,000,000 2024-01-31", "naïve café Ærøskøbing straße İstanbul ǅ",
    "e\u0301 \ufb01 \u00bd \u2460 \u3000 \u00a0 \u200b \u00ad", "Привет, мир", "Καλημέρα κόσμε",
    "שלום עולם", "مرحبا بالعالم", "नमस्ते दुनिया", "你好世界\u3002", "こんにちは世界カタカナ", "안녕하세요 세계",
    "\U0001f642\U0001f469\u200d\U0001f467\U0001f3fd\U0001f1f8\U0001f1f0", "def f(x):\n    return x_1 + 2  # `code`",
    "http://example.org/a?b=c&d=%20 user@example.org #tag @name", "\u0000\u0007\ufffd\u202e",
    "<s> [CLS] <|endoftext|> <pad> [MASK] </s>", "supercalifragilisticexpialidocious", "....----____",
]  # fmt: skip


# Keys of a config that no computation depends on: where a checkpoint comes from, what a call returns, the labels of a head.
# Whatever is not known to be of this kind counts, as some models read keys that their config class does not declare. Those with
# "mask" are of SpecAugment, which masks speech in training mode alone.
_NOT_COMPUTED = frozenset(
    "apply_spec_augment mask_feature_length mask_feature_min_masks mask_feature_prob mask_time_length mask_time_min_masks "
    "mask_time_prob "
    "architectures auto_map dtype finetuning_task gradient_checkpointing id2label label2id name_or_path num_labels "
    "output_attentions output_hidden_states problem_type return_dict task_specific_params tokenizer_class torch_dtype "
    "transformers_version use_cache".split()
)


@dataclass(frozen=True)
class Fingerprint:
    """sha256 of a trunk, 64 hex digits each.

    Attributes:
        weights: of the weights that run.
        tokenizer: of the vocabulary, and of what the tokenizer makes of fixed texts; of a trunk that reads audio, of the
            settings of its feature extractor.
        config: of the settings in config.json.
        tokenizer_settings: of the settings of the tokenizer; of a feature extractor, the same as `tokenizer`.
    """

    weights: str
    tokenizer: str
    config: str
    tokenizer_settings: str


def weights_digest(model: nn.Module, stored: torch.dtype) -> str:
    """Hash a model's state dict: for each tensor in order of name, its name, dtype, shape and bytes.

    Args:
        model (nn.Module): the part of the model that the trunk runs; in the precision of its checkpoint or a wider one.
        stored (torch.dtype): the floating dtype of the checkpoint, in which the values are hashed.
    """
    return digest_of_tensors(model.state_dict(), stored)


def digest_of_tensors(tensors: Mapping[str, Any], stored: torch.dtype) -> str:
    """As `weights_digest`, of tensors by the names that they have in a trunk."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        tensor = tensor.detach().to("cpu", stored if tensor.is_floating_point() else tensor.dtype)
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def tokenizer_digest(tokenizer: PreTrainedTokenizerFast) -> str:
    """Hash a tokenizer's vocabulary with its ids, scores and merges, and the ids and offsets it gives for fixed texts.

    Not its serialised settings: those are written differently by each release of the library, without any text being
    tokenised differently.
    """
    model: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model.get("merges") or []]
    scores = model["vocab"] if isinstance(model.get("vocab"), list) else []
    one = tokenizer(_PROBES, return_offsets_mapping=True, verbose=False)
    two = tokenizer(_PROBES, _PROBES[::-1], return_token_type_ids=True, verbose=False)
    told = {
        "vocabulary": sorted(tokenizer.get_vocab().items()),
        "merges": merges,
        "scores": scores,
        "ids": one["input_ids"],
        "offsets": one["offset_mapping"],
        "pairs": [two["input_ids"], two["token_type_ids"]],
    }
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def extractor_digest(extractor: Any) -> str:
    """Hash the class of a feature extractor and those of its settings that differ from the defaults of that class.

    What it returns besides features (a mask) does not count, as batches are made from the features alone.
    """
    settings, defaults = extractor.to_dict(), type(extractor)().to_dict()
    told = {
        key: value
        for key, value in settings.items()
        if key not in _NOT_FEATURES and not (key in defaults and value == defaults[key])
    }
    return _digest({"class": type(extractor).__name__, "settings": told})


_NOT_FEATURES = frozenset(("feature_extractor_type", "mel_filters", "processor_class", "return_attention_mask"))


def config_digest(config: PretrainedConfig) -> str:
    """Hash the settings of a model that differ from the defaults of its class, as transformers has read them.

    A setting that a later release adds has a default that computes what was computed before, so it does not count. Nor does
    `_NOT_COMPUTED`.
    """
    settings, defaults = config.to_dict(), type(config)().to_dict()
    if "encoder_layers" in settings:  # which older releases keep under this name too
        settings.pop("num_hidden_layers", None)
    told = {
        key: value
        for key, value in settings.items()
        if not (key in _NOT_COMPUTED or key.startswith("_") or (key in defaults and value == defaults[key]))
    }
    return _digest(told)


def tokenizer_settings_digest(tokenizer: PreTrainedTokenizerFast, *, takes_types: bool) -> str:
    """Hash the settings of a tokenizer: every step before and after the model, the model's options, added tokens and sides.

    Settings that are off or empty do not count, so that an option which a later release adds changes nothing.

    Args:
        tokenizer: whose settings.
        takes_types: whether the model computes with the token types of pairs; only then it counts if they are left out.
    """
    backend: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    told = {name: backend.get(name) for name in ("normalizer", "pre_tokenizer", "post_processor", "added_tokens")}
    told["model"] = {key: value for key, value in backend["model"].items() if key not in ("vocab", "merges")}
    told["sides"] = [tokenizer.truncation_side, tokenizer.padding_side]
    told["pad"] = tokenizer.pad_token_id
    told["split_special_tokens"] = tokenizer.split_special_tokens
    if takes_types and "token_type_ids" not in tokenizer.model_input_names:
        # Nothing is left out where all of them are zero, which is what a model takes by default.
        told["leaves_out_token_types"] = any(tokenizer("a", "b", return_token_type_ids=True)["token_type_ids"])
    return _digest(_set(told))


def _set(value: Any) -> Any:
    """`value` without what is off or empty in the objects within it; zero is a number and stays."""
    if isinstance(value, dict):
        kept = {key: _set(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item not in (None, "", [], {}) and item is not False}
    return [_set(item) for item in value] if isinstance(value, list) else value


def _digest(told: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()
