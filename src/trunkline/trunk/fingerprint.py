"""Which trunk is this: a sha256 of the weights it computes with, and one of what its tokenizer does.

Both are the same wherever a trunk lies, in however many files, and in whatever precision it was loaded, so a branch can
tell that it meets the trunk it was made for.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerFast

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


@dataclass(frozen=True)
class Fingerprint:
    """sha256 of a trunk's weights and of its tokenizer, 64 hex digits each."""

    weights: str
    tokenizer: str


def weights_digest(model: nn.Module, stored: torch.dtype) -> str:
    """Hash a model's state dict: for each tensor in order of name, its name, dtype, shape and bytes.

    Args:
        model (nn.Module): the part of the model that the trunk runs; in the precision of its checkpoint or a wider one.
        stored (torch.dtype): the floating dtype of the checkpoint, in which the values are hashed.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
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
