"""Claim: a process that serves 16 tasks holds at most 1.2x the memory of one with a single fine-tuned model.

Sides, each in a process of its own, in fp32: `pipeline("text-classification")` with one model of the trunk's shape, and the
engine with 16 branches (AdaLayers at its defaults), set up as `trunkline serve` does; each answers 512 texts (Emotion, test) in
requests of 32 and then says how much memory it holds (RSS): the engine at once, and after what `trunkline serve` does once
nobody has asked for 5 s, which is the side of the ratio. Both import torch and transformers.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile

import psutil
from common import finish, parser, result


def held(side: str) -> int:
    """Bytes that a process of its own holds after it has answered."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "TRUNKLINE_CACHE": folder}
        done = subprocess.run([sys.executable, __file__, "--side", side], capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return int(done.stdout.split()[-1])


def answer(side: str) -> None:
    from shapes import random_branches, shared_data

    from trunkline.data.sources import read_table

    texts = read_table(str(shared_data("emotion", "test.jsonl.gz"))).columns["text"][:512]
    if side == "pipeline":
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

        from trunkline.trunk.source import find_source

        folder = find_source("minilm", None).folder
        model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=6, dtype=torch.float32)
        pipe = pipeline("text-classification", model=model.eval(), tokenizer=AutoTokenizer.from_pretrained(folder))
        pipe(texts, batch_size=32)
    else:
        from trunkline.allocator import give_back_freed_memory, share_one_arena
        from trunkline.model.bundle import Bundle
        from trunkline.serving.engine import Engine, Limits
        from trunkline.serving.request import Request
        from trunkline.serving.workers import divide_cores
        from trunkline.trunk import load_trunk

        share_one_arena()
        trunk = load_trunk("minilm", dtype="fp32", device="cpu")
        bundle = Bundle(trunk, random_branches(trunk, [6 + number % 7 for number in range(16)]))
        engine = Engine(bundle, Limits(workers=divide_cores(trunk)))
        del bundle
        with engine:
            for first in range(0, len(texts), 32):
                engine.answer(Request(texts[first : first + 32]))
        if side == "engine, idle":
            give_back_freed_memory()
    print(psutil.Process().memory_info().rss)


def main() -> None:
    arguments = parser(__doc__, repeats=3)
    arguments.add_argument("--side", help="what this process is to measure; given by the script itself")
    options = arguments.parse_args()
    if options.side:
        answer(options.side)
        return
    sides: dict[str, list[int]] = {"pipeline": [], "engine": [], "engine, idle": []}
    for _ in range(options.repeats):
        for side, found in sides.items():
            found.append(held(side))
    runs = [
        {"side": side, "median": statistics.median(found) / 2**20, "mib": [one / 2**20 for one in found]}
        for side, found in sides.items()
    ]
    finish(result("serving_memory", runs[2]["median"] / runs[0]["median"], "<= 1.2", runs), as_json=options.json)


if __name__ == "__main__":
    main()
