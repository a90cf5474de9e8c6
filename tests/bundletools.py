"""Branches with random weights on a tiny trunk, for what is tested of many of them together."""

from __future__ import annotations

import torch
from tasktools import corpus_of, fitted
from tiny import WORDS

from trunkline.branches import methods
from trunkline.data.corpus import build_corpus
from trunkline.data.table import Table
from trunkline.model.branch import Branch
from trunkline.model.part import build_branch
from trunkline.model.trunk_ref import TrunkRef

TEXTS = [" ".join(WORDS[i : i + n]) for i, n in enumerate([3, 50, 1, 20, 7, 33, 12, 2, 45])]


def make(trunk, kind, *, max_length=64, seed=0, method="adalayers", precision="fp32", text_pair=None, **about):
    """A branch with random weights; `about` are keys of a task at text level."""
    if kind == "token":
        rows = Table("train.jsonl", {"words": [["so", "good"], ["paris"]], "tags": [["O", "B-x"], ["B-y"]]})
        task = fitted("token", build_corpus(rows, text=None, tokens="words"), tokens="words", tags="tags")
    elif kind == "multilabel":  # of columns of 0 and 1
        task = fitted("multilabel", corpus_of(price=[1, 0, 1], staff=[0, 1, 1]), labels=["price", "staff"], **about)
    elif kind == "regression":
        task = fitted("regression", corpus_of(stars=[1.0, 2.0, 4.0]), target="stars", **about)
    else:
        task = fitted("sequence", corpus_of(label=["a", "b", "c"]), label="label", **about)
    config = methods.get(method).Config(name=method)
    ref = TrunkRef.of(trunk)
    torch.manual_seed(seed)
    module = build_branch(config, ref.shape, task).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return Branch(task, config, module, task.criterion(), ref, max_length, precision, text_pair=text_pair)
