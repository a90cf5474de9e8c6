"""A weight multiplies the loss of its row: compared with repeated rows and with the formulas written out."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import config, row, write_rows
from tasktools import corpus_of, fitted
from tiny import tiny_bert

from trunkline.data.corpus import build_corpus
from trunkline.data.table import Table
from trunkline.errors import BadInput
from trunkline.events import quiet
from trunkline.tasks import Targets
from trunkline.training.config import resolve
from trunkline.training.prepare import data_digest, prepare
from trunkline.training.run import Run
from trunkline.training.sections import DataSection


def criteria():
    tagged = Table("train.jsonl", {"words": [["so", "good"], ["paris"]], "tags": [["O", "B-x"], ["B-y"]]})
    words = build_corpus(tagged, text=None, tokens="words")
    labels = corpus_of(label=["a", "b", "c", "c"])
    return {
        "sequence": fitted("sequence", labels, label="label"),
        "focal": fitted("sequence", labels, label="label", loss="focal"),
        "multilabel": fitted(
            "multilabel", corpus_of(labels=[["p", "q"], ["r"], ["p"]]), labels="labels", class_weights="balanced"
        ),
        "regression": fitted("regression", corpus_of(stars=[1.0, 2.0, 4.0]), target="stars"),
        "token": fitted("token", words, tokens="words", tags="tags"),
        "crf": fitted("token", words, tokens="words", tags="tags", crf=True),
    }


@pytest.mark.parametrize("name", criteria())
@settings(max_examples=15, deadline=None)
@given(counts=st.lists(st.integers(0, 3), min_size=2, max_size=5).filter(any), seed=st.integers(0, 99))
def test_a_weight_is_worth_as_many_repeated_rows(name, counts, seed):
    task = criteria()[name]
    criterion, draw = task.criterion(), torch.Generator().manual_seed(seed)
    for parameter in criterion.parameters():
        parameter.data = torch.randn(parameter.shape, generator=draw)
    sizes = torch.randint(1, 4, (len(counts),), generator=draw) if name in ("token", "crf") else torch.ones(len(counts)).long()
    groups = torch.repeat_interleave(torch.arange(len(counts)), sizes)
    logits = torch.randn(len(groups), task.outputs, generator=draw)
    if name == "multilabel":
        targets = torch.rand(len(groups), task.outputs, generator=draw) < 0.5
    elif name == "regression":
        targets = torch.randn(len(groups), generator=draw).double()
    else:
        targets = torch.randint(0, task.outputs, (len(groups),), generator=draw)
    weights = Targets(targets.numpy(), np.ones(len(groups), bool)).weighted(np.array(counts, float)[groups.numpy()]).weights
    repeated = torch.cat([torch.arange(len(groups))[groups == g] for g, count in enumerate(counts) for _ in range(count)])
    copies = torch.cat([torch.full((int(sizes[g]),), 10 * g + copy) for g, count in enumerate(counts) for copy in range(count)])
    units = name in ("token", "crf")
    weighted = criterion.loss(logits, targets, groups if units else None, torch.from_numpy(weights))
    expected = criterion.loss(logits[repeated], targets[repeated], copies if units else None)
    assert float(weighted) == pytest.approx(float(expected), rel=1e-4, abs=1e-6)


def test_class_weights_and_row_weights_multiply():
    task = fitted("sequence", corpus_of(label=["a", "b", "b"]), label="label", class_weights={"a": 3.0})
    logits, targets = torch.tensor([[0.3, -1.0], [0.5, 0.2]]), torch.tensor([0, 1])
    losses = F.cross_entropy(logits, targets, reduction="none")
    found = task.criterion().loss(logits, targets, None, torch.tensor([0.5, 1.5]))
    assert float(found) == pytest.approx(float((3 * 0.5 * losses[0] + 1.5 * losses[1]) / 4))


def weighted_config(trunk, path, column="w"):
    values = config(trunk, path, tasks=("mood", "cities"), epochs=1)
    return values | {"data": values["data"] | {"weight": column}}


def test_the_weights_of_a_column_reach_the_targets_of_train_alone(tmp_path):
    draw = random.Random(0)
    rows = [row(draw) | {"w": number % 4} for number in range(40)]
    rows[0]["label"] = None
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    (found,) = prepare(resolve(weighted_config(tmp_path, tmp_path / "rows.jsonl")))
    train = found.splits["train"]
    own = np.array(train.corpus.table.columns["w"], float)
    mood, cities = train.targets["mood"], train.targets["cities"]
    assert mood.weights[mood.present].mean() == pytest.approx(1)
    ratio = mood.weights[own > 0] / own[own > 0]
    assert np.allclose(ratio, ratio[0])
    assert np.allclose(cities.weights, np.repeat(own, np.diff(cities.offsets)) * cities.weights.max() / own.max())
    assert all(targets.weights is None for name in ("validation", "test") for targets in found.splits[name].targets.values())


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([1] * 9 + [-1], "row 10: a negative weight in column 'w', expected a number of at least 0"),
        ([1] * 9 + [None], "row 10: no weight in column 'w', expected a number of at least 0"),
        ([1] * 9 + ["x"], "row 10: column 'w' holds a string, expected a finite number"),
        ([0] * 10, "column 'w': every row with a label for task mood has weight 0, expected at least one positive weight"),
    ],
)
def test_weights_that_are_none_are_one_sentence(values, sentence, tmp_path):
    rows = [{"text": f"so {number}", "label": "ab"[number % 2], "w": weight} for number, weight in enumerate(values)]
    given = {"train": rows, "validation": rows, "weight": "w"}
    given["validation"] = [{"text": one["text"], "label": one["label"]} for one in rows]
    with pytest.raises(BadInput) as error:
        prepare(resolve({"data": given, "tasks": {"mood": {"kind": "sequence", "label": "label"}}}))
    assert sentence in str(error.value)


def test_a_step_follows_the_weighted_loss(tmp_path):
    """The loss that the loop reports for a whole-split batch is the formula's, with the weights of its rows."""
    trunk = tiny_bert(tmp_path / "trunk")
    rows = [
        {"text": f"so {word}", "label": label, "w": w}
        for word, label, w in [("good", "a", 1), ("bad", "b", 5), ("slow", "b", 0), ("fast", "a", 2), ("rain", "a", 4)]
    ]
    values = {
        "trunk": {"name": str(trunk), "dtype": "fp32", "device": "cpu"},
        "data": {"train": rows, "validation": rows, "weight": "w"},
        "tasks": {"mood": {"kind": "sequence", "label": "label"}},
        "method": {"name": "probe"},
        "training": {"epochs": 1, "batch_tokens": 512, "states": "live"},
    }  # fmt: skip
    run = Run(resolve(values), quiet)
    loop = run.loop(tmp_path / "run")
    (source,), (batch,) = loop.sources, loop.batches(0)
    loop.active()["mood"].train(False)  # without dropout
    losses = loop._batch(batch)
    logits = torch.from_numpy(loop.logits(loop.parts(), source.train, "train")["mood"])
    targets = torch.from_numpy(source.train.supervision["mood"].targets.values)
    weights = torch.tensor([one["w"] for one in rows]) / np.mean([one["w"] for one in rows])
    expected = (F.cross_entropy(logits, targets, reduction="none") * weights).mean()
    assert float(losses["mood"]) == pytest.approx(float(expected), rel=1e-4)


def test_weights_make_another_run_and_none_the_same_as_before(tiny_trunk_dir, tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", 30)
    plain = config(tiny_trunk_dir, path, tasks=("mood",))
    assert "weight" in resolve(plain).as_dict()["data"]
    assert "weight" in DataSection.LATER  # so that runs from before it was a key are found
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    digests = set()
    for weights in ([1.0] * 30, [2.0] + [1.0] * 29):
        weighted = [one | {"w": weight} for one, weight in zip(rows, weights, strict=True)]
        values = config(tiny_trunk_dir, path, tasks=("mood",)) | {
            "data": {"train": weighted, "validation": rows, "weight": "w"}
        }
        digests.add(data_digest(Run(resolve(values), quiet).groups))
    assert len(digests) == 2
