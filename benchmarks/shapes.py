"""Trunks of a published shape with random weights: speed does not depend on what the weights are."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from trunkline.trunk import Trunk, load_trunk


def bert_base(dtype: str, vocabulary: tuple[str, ...] = ()) -> Trunk:
    """A BERT-base: 12 blocks, width 768, 12 heads, feed-forward 3072, 30,522 words of which `vocabulary` are known."""
    words = {word: number for number, word in enumerate(dict.fromkeys(("[PAD]", "[UNK]", "[CLS]", "[SEP]", *vocabulary)))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        BertModel(BertConfig(), add_pooling_layer=False).save_pretrained(folder)
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", model_max_length=512
        ).save_pretrained(folder)  # fmt: skip
        trunk = load_trunk(Path(folder), dtype=dtype)
        trunk.fingerprint  # noqa: B018 (read while the folder is there)
    return trunk


def shared_data(*parts: str) -> Path:
    """A data set that cannot be shipped, in ../shared/data beside the checkout; ends the script with a sentence without it."""
    path = Path(__file__).resolve().parents[2].joinpath("shared", "data", *parts)
    if not path.exists():
        raise SystemExit(f"{path}: not there; this benchmark needs the data set {parts[0]} in ../shared/data")
    return path
