"""A bundle with a branch of every kind of task, its weights random, on a tiny trunk."""

from __future__ import annotations

from pathlib import Path

import torch
from tasktools import corpus_of, fitted
from tiny import tiny_bert

from trunkline.branches import methods
from trunkline.data.corpus import build_corpus
from trunkline.data.table import Table
from trunkline.model.branch import Branch
from trunkline.model.bundle import Bundle
from trunkline.model.part import build_branch
from trunkline.model.trunk_ref import TrunkRef
from trunkline.tasks import Task
from trunkline.trunk.load import load_trunk

TEXTS = ["play a song", "book a table for two", "so good", "it is not very good today"]


def every_kind() -> dict[str, Task]:
    """Tasks of every kind, of some in several ways."""
    tagged = Table("train.jsonl", {"words": [["so", "good"], ["paris"]], "tags": [["O", "B-x"], ["B-y"]]})
    spans = Table("train.jsonl", {"text": ["so good"], "spans": [[{"start": 3, "end": 7, "label": "x"}]]})
    return {
        "mood": fitted("sequence", corpus_of(label=["a", "b", "c"]), label="label"),
        "flag": fitted("sequence", corpus_of(label=[True, False]), label="label"),
        "topics": fitted("multilabel", corpus_of(labels=[["p", "q"], ["r"]]), labels="labels"),
        "columns": fitted("multilabel", corpus_of(r=[1, 0], p=[0, 1]), labels=["r", "p"]),
        "stars": fitted("regression", corpus_of(stars=[1.0, 2.0, 4.0]), target="stars"),
        "slots": fitted("token", build_corpus(tagged, text=None, tokens="words"), tokens="words", tags="tags"),
        "chained": fitted("token", build_corpus(spans, text="text", units=True), spans="spans", crf=True),
    }


def bundle_of_every_kind(folder: Path) -> Bundle:
    """A bundle of `every_kind`, whose trunk is written to `folder`."""
    trunk = load_trunk(tiny_bert(folder), dtype="fp32", device="cpu")
    config, ref, branches = methods.get("probe").Config(name="probe"), TrunkRef.of(trunk), {}
    for seed, (name, task) in enumerate(every_kind().items()):
        torch.manual_seed(seed)
        module, criterion = build_branch(config, ref.shape, task).eval(), task.criterion()
        with torch.no_grad():
            for parameter in [*module.parameters(), *criterion.parameters()]:
                parameter.add_(torch.randn_like(parameter))
        branches[name] = Branch(task, config, module, criterion, ref, 64, "fp32")
    return Bundle(trunk, branches)
