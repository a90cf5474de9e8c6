"""Claim: each task more costs less as a side branch than as a LoRA adapter in peft's mixed batches, from 2 tasks on.

Sides, for 1, 2, 4 ... 100 tasks on each of 32 texts (Emotion, test; one batch, fp32): the trunk with that many branches
(AdaLayers at its defaults), as the engine runs them; and a model with as many LoRA adapters (rank 8 on query and value), with a
row for each text and task, each row through its own adapter (`adapter_names` of peft's forward). `--most` bounds the number of
adapters, as 100 take minutes. Random weights. The adapters' heads are left out, to their advantage. Not measured: tokenising,
decoding.
"""

from __future__ import annotations

import itertools
import os
import tempfile

import torch
from common import finish, interleave, parser, ratio_of, result, runs_of
from peft import LoraConfig, get_peft_model
from shapes import random_branches, shared_data

from trunkline.data.sources import read_table
from trunkline.model.apply import collect_logits
from trunkline.model.bundle import Bundle
from trunkline.trunk import load_trunk

TEXTS, COUNTS, CHUNK = 32, (1, 2, 4, 8, 16, 32, 64, 100), 32


def adapted(trunk, count: int):
    """A model of the trunk's with `count` adapters, none of which is the identity."""
    config = LoraConfig(r=8, target_modules=["query", "value"], init_lora_weights=False)
    model = get_peft_model(load_trunk(trunk.folder, dtype="fp32", device="cpu").model, config, adapter_name="0")
    for number in range(1, count):
        model.add_adapter(str(number), config)
    return model.eval()


def main() -> None:
    arguments = parser(__doc__, repeats=3)
    arguments.add_argument("--most", type=int, default=100, help="most adapters that are measured (100)")
    options = arguments.parse_args()
    texts = read_table(str(shared_data("emotion", "test.jsonl.gz"))).columns["text"][:TEXTS]
    runs, ratios = [], {}
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        os.environ["TRUNKLINE_CACHE"] = folder
        trunk = load_trunk("minilm", dtype="fp32", device="cpu")
        encoded = trunk.encode(texts)
        inputs = trunk.collate(encoded, range(TEXTS))
        for count in (count for count in COUNTS if count <= options.most):
            bundle = Bundle(trunk, random_branches(trunk, [6 + number % 7 for number in range(count)]))
            planned = bundle.plan.passes[0]
            branches = {name: (branch.task, branch.module) for name, branch in planned.branches.items()}
            model = adapted(trunk, count)

            def side_branches(planned=planned, branches=branches) -> None:
                collect_logits(
                    branches, planned.states(encoded), encoded, precision="fp32", device=trunk.device, group=planned.group
                )

            def adapters(model=model, count=count) -> None:
                for first in range(0, count, CHUNK):  # more rows at once are no faster, and take gigabytes
                    names = [str(number) for number in range(first, min(count, first + CHUNK)) for _ in range(TEXTS)]
                    rows = {key: value.repeat(len(names) // TEXTS, 1) for key, value in inputs.items()}
                    model(**rows, adapter_names=names)

            times = interleave({"side branches": side_branches, "LoRA adapters": adapters}, repeats=options.repeats)
            ratios[count] = ratio_of(times, "LoRA adapters", "side branches")
            runs += [{**run, "tasks": count, "a_task_more": None} for run in runs_of(times)]
    for name in ("side branches", "LoRA adapters"):
        own = [run for run in runs if run["side"] == name]
        for before, after in itertools.pairwise(own):
            after["a_task_more"] = (after["median"] - before["median"]) / (after["tasks"] - before["tasks"])
    finish(result("tasks_beside_adapters", min(list(ratios.values())[1:]), ">= 1", runs), as_json=options.json)


if __name__ == "__main__":
    main()
