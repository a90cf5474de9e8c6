"""Claim: 16 sequence tasks are answered at least 12x as fast as by 16 fine-tuned models behind transformers pipelines.

Sides: the engine, asked for all 16 tasks of each of 128 texts in requests of 32, in fp32; and 16 transformers
`pipeline("text-classification")`, each with a model of its own of the trunk's shape in fp32, at the batch size that is fastest
for one of them here. Texts are tweets (Emotion, test). Both tokenise and return labels with scores. Branches (AdaLayers at its
defaults, 6 to 12 labels) and the models' heads have random weights, which do not matter for the time. Not measured: HTTP.
"""

from __future__ import annotations

import os
import tempfile

import torch
from common import finish, interleave, parser, ratio_of, result, runs_of, seconds
from shapes import random_branches, shared_data
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
from transformers.utils import logging

from trunkline.data.sources import read_table
from trunkline.model.bundle import Bundle
from trunkline.serving.engine import Engine, Limits
from trunkline.serving.request import Request
from trunkline.serving.workers import divide_cores
from trunkline.trunk import load_trunk
from trunkline.trunk.source import find_source

TASKS, TEXTS, ASKED = 16, 128, 32
BATCH_SIZES = (1, 8, 32, 128)


def pipelines(folder: str, count: int) -> list:
    """Models that were fine-tuned apart: the trunk's shape with a head, each with weights of its own."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = []
    for number in range(count):
        model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=6 + number % 7, dtype=torch.float32)
        found.append(pipeline("text-classification", model=model.eval(), tokenizer=tokenizer))
    return found


def main() -> None:
    arguments = parser(__doc__, repeats=5)
    arguments.add_argument("--trunk", default="minilm", help="the trunk of both sides")
    options = arguments.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    texts = read_table(str(shared_data("emotion", "test.jsonl.gz"))).columns["text"][:TEXTS]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRUNKLINE_CACHE"] = folder
        trunk = load_trunk(options.trunk, dtype="fp32", device="cpu")
        bundle = Bundle(trunk, random_branches(trunk, [6 + number % 7 for number in range(TASKS)]))
        theirs = pipelines(str(find_source(options.trunk, None).folder), TASKS)
        best = min(BATCH_SIZES, key=lambda size: min(seconds(lambda: theirs[0](texts, batch_size=size)) for _ in range(2)))

        def asked() -> None:
            futures = [engine.submit(Request(texts[first : first + ASKED])) for first in range(0, TEXTS, ASKED)]
            assert all(len(row) == TASKS for future in futures for row in future.result().predictions)

        def piped() -> None:
            for pipe in theirs:
                pipe(texts, batch_size=best)

        cores = torch.get_num_threads()
        with Engine(bundle, Limits(workers=divide_cores(trunk))) as engine:
            asked()  # the workers have their share of the cores now; the pipelines, in this thread, all of them
            torch.set_num_threads(cores)
            times = interleave({"engine": asked, "16 pipelines": piped}, repeats=options.repeats)
    runs = runs_of(times, tasks=TASKS)
    for run in runs:
        run["texts_a_second"] = TEXTS / run["median"]
    runs[1]["batch_size"] = best
    finish(result("many_tasks", ratio_of(times, "16 pipelines", "engine"), ">= 12", runs), as_json=options.json)


if __name__ == "__main__":
    main()
