"""decoding.json: all that is needed to make answers of the graph's logits, as predict.py (beside it) does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch

from trunkline.data.corpus import WORDS
from trunkline.errors import BadInput
from trunkline.export.onnx.together import Together
from trunkline.model.branch import Branch
from trunkline.model.decision import thresholds_of
from trunkline.trunk.source import public_name

FORMAT, WITH_WINDOWS = 1, 2  # the latter where a task reads windows, as a reader of the former would take the first for all
GRAPH, TOKENIZER, DECODING, SCRIPT = "model.onnx", "tokenizer.json", "decoding.json", "predict.py"
FORBIDDEN = -1e9  # the score of a step that a CRF rules out, as JSON has no infinity

TEXT = "logits (texts, labels)"
TOKENS = (
    "logits (texts, tokens, tags) of every token; those of a word are those of its first sub-word, the first token that ends "
    "after the word begins and begins before it ends. A word that has none, as the text was cut before it, is O. An I- tag "
    "that continues no span begins one."
)
LONG = "a text with more tokens is cut, and what is cut off is not read"
IN_WINDOWS = (
    "; a task with `windows` reads all of it, as windows of at most `max_length` tokens, special ones included, each of which "
    "begins with the last `overlap` tokens of the one before, and its logits are the mean or the max of those of the windows"
)


def described(together: Together, dtype: str, agreement: Mapping[str, Any]) -> dict[str, Any]:
    """The contents of decoding.json."""
    trunk, tokenizer = together.trunk, together.trunk.tokenizer
    windows = {} if together.overlap is None else {"overlap": together.overlap}
    return {
        "format": WITH_WINDOWS if windows else FORMAT,
        "graph": GRAPH,
        "dtype": dtype,
        "tokenizer": TOKENIZER,
        "inputs": list(together.inputs),
        "pairs": together.pairs,
        "max_length": together.max_length,
        "long_texts": LONG + (IN_WINDOWS if windows else ""),
        **windows,
        "truncation_side": tokenizer.truncation_side,
        "padding": {"side": "right", "id": trunk.pad_id},
        "split_special_tokens": bool(tokenizer.split_special_tokens),
        "trunk": {"name": public_name(trunk.name, trunk.revision), "revision": trunk.revision, **asdict(trunk.fingerprint)},
        "tasks": {name: of_task(branch) for name, branch in together.branches.items()},
        "agreement": dict(agreement),
    }


def of_task(branch: Branch) -> dict[str, Any]:
    """How the logits of one task are decoded.

    Raises:
        BadInput: a kind of task that predict.py does not know.
    """
    task, decision = branch.task, branch.decision
    if task.kind not in ("sequence", "multilabel", "regression", "token"):
        raise BadInput(f"branch {task.name!r}: tasks of kind {task.kind} have no decoding outside of Trunkline")
    temperature = 1.0 if decision is None or decision.temperature is None else decision.temperature
    found = {
        "kind": task.kind,
        "output": TOKENS if task.answers.units else TEXT,
        "labels": list(task.labels),
        "temperature": temperature,
    }
    if task.answers.joined:
        found["windows"] = task.long_texts
    if (thresholds := thresholds_of(task, decision)) is not None:
        found["thresholds"] = thresholds.tolist()
    if task.scale is not None:
        found["mean"], found["deviation"] = task.scale
    if task.answers.units:
        found["words"] = WORDS
        if (crf := getattr(branch.criterion, "crf", None)) is not None:
            with torch.no_grad():
                found["crf"] = {
                    "start": crf.start.masked_fill(~crf.first, FORBIDDEN).tolist(),
                    "transitions": crf.transitions.masked_fill(~crf.allowed, FORBIDDEN).tolist(),
                    "end": crf.end.tolist(),
                }
    return found
