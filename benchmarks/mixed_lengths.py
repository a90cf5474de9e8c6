"""Claim: 1,000 texts of mixed length are answered at least 3x as fast as by a transformers pipeline on the same weights.

A sentiment probe (one linear map on the mean of the last layer) is trained by Trunkline on 1,000 IMDB reviews. Sides: the
bundle's `predict` on 1,000 test reviews cut to 5 to 250 words each, and `pipeline("text-classification")` at its defaults
on a model of the same trunk and the same linear map; both tokenise and return labels. Labels must agree on 99.5 % or more
of the texts, or the claim does not hold whatever the times.

`trunkline auto` computes in what `dtype: auto` chooses here. The other sides have their ratio in the table: torch in fp32 as
the pipeline, and where OpenVINO is installed, that in fp32 (the same branch; asked for: 2.5x) and in int8 (a branch trained on
its states; asked for: 5x).
"""

from __future__ import annotations

import os
import random
import tempfile
from functools import partial
from pathlib import Path

import torch
from common import finish, holds, interleave, parser, ratio_of, result, runs_of
from shapes import shared_data, write_csv
from torch import nn
from transformers import AutoModel, AutoTokenizer, BertConfig, BertPreTrainedModel, pipeline
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils import logging

import trunkline
from trunkline.data.sources import read_table
from trunkline.trunk.backends import installed
from trunkline.trunk.source import find_source

AGREE = 0.995


class MeanProbeModel(BertPreTrainedModel):
    """The same trunk and the same linear map, as a plain transformers model."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = AutoModel.from_config(config, add_pooling_layer=False)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, input_ids=None, attention_mask=None, token_type_ids=None, **_):
        states = self.bert(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)[0]
        mask = attention_mask[..., None].to(states.dtype)
        return SequenceClassifierOutput(logits=self.classifier((states * mask).sum(1) / mask.sum(1)))


def mixed_texts(count: int) -> list[str]:
    draw = random.Random(0)
    rows = read_table(str(shared_data("imdb", "test.jsonl.gz"))).columns["text"]
    return [" ".join(text.split()[: draw.randint(5, 250)]) for text in draw.sample(rows, count)]


def main() -> None:
    options = parser(__doc__, repeats=3).parse_args()
    logging.set_verbosity(logging.CRITICAL)  # the pipeline lists every class that it knows better than ours
    texts = mixed_texts(1000)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRUNKLINE_CACHE"] = folder
        table = read_table(str(shared_data("imdb", "train.jsonl.gz")))
        train = table.select(random.Random(1).sample(range(len(table)), 1000))
        rows = Path(folder) / "train.csv"
        write_csv(rows, train, ("text", "label"))
        trained = {"auto": {}, "torch fp32": {"dtype": "fp32"}}
        if installed("openvino"):
            trained["openvino int8"] = {"backend": "openvino", "dtype": "int8"}
        bundles = {}
        for name, trunk in trained.items():
            run = fitted(rows, trunk, Path(folder) / name.replace(" ", "-"))
            bundles[name] = trunkline.Bundle.open(run)
            if name == "torch fp32" and installed("openvino"):
                bundles["openvino fp32"] = trunkline.Bundle.open(run, backend="openvino")
        theirs = {name: plain_pipeline(bundle.branches["sentiment"]) for name, bundle in bundles.items()}
        answers: dict[str, list[str]] = {}

        def ours(name: str) -> None:
            answers[f"trunkline {name}"] = [answer["sentiment"]["label"] for answer in bundles[name].predict(texts)]

        def pipelined() -> None:
            answers["pipeline"] = [answer["label"] for answer in theirs["auto"](texts, truncation=True, max_length=256)]

        sides = {f"trunkline {name}": partial(ours, name) for name in bundles}
        times = interleave({**sides, "pipeline": pipelined}, repeats=options.repeats)
    # The weights of each branch are its own, so that each is compared with the pipeline that has them.
    expected = {name: answers["pipeline"] if name == "auto" else labels_of(theirs[name], texts) for name in bundles}
    runs = runs_of(times)
    for run in runs:
        name = run["side"].removeprefix("trunkline ")
        if name in bundles:
            pairs = zip(answers[run["side"]], expected[name], strict=True)
            run["agree"] = sum(a == b for a, b in pairs) / len(texts)
            run["ratio"], run["dtype"] = ratio_of(times, "pipeline", run["side"]), bundles[name].trunk.dtype
    outcome = result("mixed_lengths", ratio_of(times, "pipeline", "trunkline auto"), ">= 3", runs)
    outcome["holds"] = holds(outcome["ratio"], ">= 3") and runs[0]["agree"] >= AGREE
    finish(outcome, as_json=options.json)


def fitted(rows: Path, trunk: dict[str, str], folder: Path) -> Path:
    """Train the probe on a trunk; return its run."""
    config = {
        "trunk": {"name": "minilm", "max_length": 256, **trunk},
        "data": {"train": str(rows)},
        "tasks": {"sentiment": {"kind": "sequence", "label": "label"}},
        "method": {"name": "probe", "pooling": "mean"},
        "training": {"epochs": 20, "learning_rate": 5e-3},
    }
    return trunkline.fit(config, run_dir=folder).path


def labels_of(pipe, texts: list[str]) -> list[str]:
    return [answer["label"] for answer in pipe(texts, truncation=True, max_length=256, batch_size=16)]


def plain_pipeline(branch):
    """The pipeline as a user builds it: a model in its default precision, a tokenizer, no other options."""
    source = find_source("minilm", None)
    config = BertConfig.from_pretrained(source.folder, num_labels=branch.task.outputs)
    config.id2label = dict(enumerate(branch.task.labels))
    model = MeanProbeModel(config)
    model.bert.load_state_dict(AutoModel.from_pretrained(source.folder, add_pooling_layer=False).state_dict())
    linear = branch.module.head.linear
    with torch.no_grad():
        model.classifier.weight.copy_(linear.weight)
        model.classifier.bias.copy_(linear.bias)
    return pipeline("text-classification", model=model.eval(), tokenizer=AutoTokenizer.from_pretrained(source.folder))


if __name__ == "__main__":
    main()
