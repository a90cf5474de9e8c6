"""Trunks of a published shape with random weights: speed does not depend on what the weights are."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from trunkline.branches import methods
from trunkline.data.table import Table
from trunkline.model.branch import Branch
from trunkline.model.part import build_branch
from trunkline.model.trunk_ref import TrunkRef
from trunkline.tasks import kinds
from trunkline.trunk import Trunk, load_trunk


def write_bert_base(folder: Path, words: tuple[str, ...] = ()) -> Path:
    """Write a BERT-base (12 blocks, width 768, 12 heads, feed-forward 3072) whose tokenizer knows `words`."""
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(("[PAD]", "[UNK]", "[CLS]", "[SEP]", *words)))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    torch.manual_seed(0)
    BertModel(BertConfig(), add_pooling_layer=False).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_max_length=512,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def bert_base(dtype: str, words: tuple[str, ...] = ()) -> Trunk:
    """The same, loaded."""
    with tempfile.TemporaryDirectory() as folder:
        return load_trunk(write_bert_base(Path(folder), words), dtype=dtype)


def vocabulary(texts: list[str]) -> tuple[str, ...]:
    """All words of `texts`, as a BERT's pre-tokenizer sees them, to a BERT-base's number."""
    split = pre_tokenizers.BertPreTokenizer()
    return tuple(sorted({word for text in texts for word, _ in split.pre_tokenize_str(text)}))[:30_000]


def write_csv(path: Path, table: Table, columns: tuple[str, ...]) -> None:
    """Write some columns of a table to a CSV file."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*(table.columns[name] for name in columns), strict=True))


def shared_data(*parts: str) -> Path:
    """A data set that cannot be shipped, in ../shared/data beside the checkout; ends the script with a sentence without it."""
    path = Path(__file__).resolve().parents[2].joinpath("shared", "data", *parts)
    if not path.exists():
        raise SystemExit(f"{path}: not there; this benchmark needs the data set {parts[0]} in ../shared/data")
    return path


def random_branches(trunk: Trunk, labels: list[int]) -> dict[str, Branch]:
    """AdaLayers branches at their defaults with random weights, one for a sequence task of each number of labels."""
    kind, config = kinds.get("sequence"), methods.get("adalayers").Config(name="adalayers")
    ref, found = TrunkRef.of(trunk), {}
    for number, count in enumerate(labels):
        names = [f"label {label}" for label in range(count)]
        task = kind(f"task{number}", kind.Config(label="label"), names, kind.Learned())
        torch.manual_seed(number)
        module = build_branch(config, ref.shape, task).eval()
        found[task.name] = Branch(task, config, module, task.criterion(), ref, trunk.max_length, trunk.dtype)
    return found
