"""A tiny trunk of every known architecture, random weights, written to a folder as a user's own would be.

``ZOO`` maps a name to a function that writes model and tokenizer to a folder; ``MODELS`` tells what each is made of. The
tokenizers are of the kinds the real models have (word pieces, byte-level BPE, unigram), trained on a few words.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import torch
import transformers as hf
from tiny import WORDS, tiny_tokenizer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = [" ".join(WORDS[i % 7 :: 7]) for i in range(7)] + [
    "The film was GREAT, 10/10!",
    "čo je to za film?",
    "이 영화 좋다 🙂",
]


def _tokenizer(
    tokenizer: Tokenizer, *, first: str | None = None, last: str | None = None, side: str = "right", **special: str
) -> hf.PreTrainedTokenizerFast:
    """Make every text begin with `first` and end with `last`, and wrap the tokenizer for transformers."""
    named = [(token, tokenizer.token_to_id(token)) for token in (first, last) if token]
    one = [part for part in (first, "$A", last) if part]
    two = [*one, "$B", *([last] if last else [])]
    tokenizer.post_processor = processors.TemplateProcessing(single=one, pair=two, special_tokens=named)
    names = ["input_ids", "attention_mask"]
    return hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side=side, model_input_names=names, **special)


def byte_bpe(tokens: str, **settings: str) -> hf.PreTrainedTokenizerFast:
    """Byte-level BPE, as roberta, bart, gpt2, llama 3, qwen and modernbert have; `tokens` are the special ones in id order."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=tokens.split(), initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return _tokenizer(tokenizer, **settings)


def unigram(tokens: str, **settings: str) -> hf.PreTrainedTokenizerFast:
    """A unigram model as sentencepiece makes them, as xlm-roberta, mbart, t5, albert and deberta-v3 have."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    unknown = settings["unk_token"]
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=tokens.split(), unk_token=unknown, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return _tokenizer(tokenizer, **settings)


XLM = "<s> <pad> </s> <unk> <mask>"
XLM_TOKENS = {"last": "</s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
BERT_TOKENS = {"first": "[CLS]", "last": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"}
roberta_tokens = partial(byte_bpe, XLM, first="<s>", **XLM_TOKENS)
xlm_tokens = partial(unigram, XLM, first="<s>", **XLM_TOKENS)
mbart_tokens = partial(unigram, XLM, **XLM_TOKENS)
t5_tokens = partial(unigram, "<pad> </s> <unk>", **XLM_TOKENS)
albert_tokens = partial(
    unigram, "<pad> <unk> [CLS] [SEP] [MASK]", **{**BERT_TOKENS, "pad_token": "<pad>", "unk_token": "<unk>"}
)
deberta_tokens = partial(unigram, "[PAD] [CLS] [SEP] [UNK] [MASK]", **BERT_TOKENS)
modernbert_tokens = partial(byte_bpe, "[PAD] [UNK] [CLS] [SEP] [MASK]", **BERT_TOKENS)
gpt2_tokens = partial(byte_bpe, "<|endoftext|>", eos_token="<|endoftext|>")  # no pad token, like the real ones
llama_tokens = partial(byte_bpe, "<unk> <s> </s>", first="<s>", side="left", bos_token="<s>", eos_token="</s>")
qwen_tokens = partial(byte_bpe, "<|end|> <|im_end|>", side="left", pad_token="<|end|>", eos_token="<|im_end|>")

BERT = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48, "max_position_embeddings": 64,
}  # fmt: skip
ROBERTA = {**BERT, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "type_vocab_size": 1}
DISTILBERT = {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": 64}
DEBERTA = {
    **BERT, "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 8, "share_att_key": True,
    "norm_rel_ebd": "layer_norm", "position_biased_input": False, "type_vocab_size": 0,
}  # fmt: skip
ALBERT = {**BERT, "embedding_size": 16}
MODERNBERT = {
    **BERT, "local_attention": 6, "global_attn_every_n_layers": 2, "pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3,
    "bos_token_id": 2, "eos_token_id": 3,
}  # fmt: skip
BART = {
    "d_model": 32, "encoder_layers": 3, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 64,
    "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2, "forced_eos_token_id": 2,
}  # fmt: skip
T5 = {
    "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 3, "num_decoder_layers": 2, "num_heads": 4, "pad_token_id": 0,
    "eos_token_id": 1, "decoder_start_token_id": 0, "feed_forward_proj": "gated-gelu",
}  # fmt: skip
GPT2 = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64, "bos_token_id": 0, "eos_token_id": 0}
LLAMA = {**BERT, "num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2}
QWEN = {**BERT, "num_key_value_heads": 2, "bos_token_id": 0, "eos_token_id": 1}


class Member(NamedTuple):
    """One trunk of the zoo: the class of the bare model, what makes its tokenizer, and its config."""

    model_class: type[hf.PreTrainedModel]
    tokens: Callable[[], hf.PreTrainedTokenizerFast]
    config: dict


MODELS: dict[str, Member] = {
    "bert": Member(hf.BertModel, tiny_tokenizer, BERT),
    "roberta": Member(hf.RobertaModel, roberta_tokens, ROBERTA),
    "xlm-roberta": Member(hf.XLMRobertaModel, xlm_tokens, ROBERTA),
    "distilbert": Member(hf.DistilBertModel, tiny_tokenizer, DISTILBERT),
    "electra": Member(hf.ElectraModel, tiny_tokenizer, {**BERT, "embedding_size": 16}),
    "mpnet": Member(hf.MPNetModel, roberta_tokens, ROBERTA),
    "deberta-v2": Member(hf.DebertaV2Model, deberta_tokens, DEBERTA),
    "deberta-v2-conv": Member(hf.DebertaV2Model, deberta_tokens, {**DEBERTA, "conv_kernel_size": 3, "conv_act": "gelu"}),
    "albert": Member(hf.AlbertModel, albert_tokens, ALBERT),
    "albert-groups": Member(
        hf.AlbertModel, albert_tokens, {**ALBERT, "num_hidden_layers": 4, "num_hidden_groups": 2, "inner_group_num": 2}
    ),
    "modernbert": Member(hf.ModernBertModel, modernbert_tokens, MODERNBERT),
    "bart": Member(hf.BartModel, roberta_tokens, BART),
    "mbart": Member(hf.MBartModel, mbart_tokens, BART),
    "t5": Member(hf.T5EncoderModel, t5_tokens, T5),
    "gpt2": Member(hf.GPT2Model, gpt2_tokens, GPT2),
    "gpt2-left": Member(hf.GPT2Model, partial(gpt2_tokens, side="left"), GPT2),
    "llama": Member(hf.LlamaModel, llama_tokens, LLAMA),
    "qwen2": Member(hf.Qwen2Model, qwen_tokens, QWEN),
    "qwen3": Member(hf.Qwen3Model, qwen_tokens, {**QWEN, "head_dim": 8}),
}

BOTH = ("bart", "mbart", "t5")
STACKS = [(name, stack) for name in MODELS for stack in (("encoder", "decoder") if name in BOTH else ("encoder",))]


@cache
def tokenizer_of(name: str) -> hf.PreTrainedTokenizerFast:
    return MODELS[name].tokens()


def build(name: str, *, seed: int = 0, model_class: type[hf.PreTrainedModel] | None = None, **config) -> hf.PreTrainedModel:
    """Make the zoo's `name` in memory, in evaluation mode (as `model_class`, e.g. one with a head, if given).

    Norms and biases are moved off their initial ones and zeros, so that a test sees whether they were applied.
    """
    member = MODELS[name]
    torch.manual_seed(seed)
    values = {**member.config, "vocab_size": len(tokenizer_of(name)), **config}
    model = (model_class or member.model_class)(member.model_class.config_class(**values)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def make(folder: Path, name: str, **settings) -> Path:
    """Write the zoo's `name` (see `build`) and its tokenizer to `folder`; return the folder."""
    if name == "t5":
        settings.setdefault("model_class", hf.T5ForConditionalGeneration)  # as published checkpoints are
    hf.utils.logging.disable_progress_bar()
    build(name, **settings).save_pretrained(folder)
    tokenizer_of(name).save_pretrained(folder)
    return folder


ZOO: dict[str, Callable[[Path], Path]] = {name: partial(make, name=name) for name in MODELS}
