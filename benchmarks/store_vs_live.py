"""Claim: an AdaLayers fit on Emotion trains at least 10x as fast from the states store as with the trunk run anew each epoch.

Sides: two runs of one config (frozen minilm, k = 64, alpha 70, cut-off 5e-3, Adam 1e-4: layers drop out as it learns) with
`training.states: store` and `live`, both in fp32, 20 epochs; an epoch of one and an epoch of the other take turns. The ratio
is that of the mean training epochs. Beside it: the same in bf16; end to end over all epochs with evaluations and, for the
store, with building it; and the same in fp32 on 2,000 of the texts with a BERT-base-shaped trunk of random weights (target
20x). Not measured: reading and tokenising the texts, which both sides do once.
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from common import finish, parser, result
from shapes import shared_data, vocabulary, write_bert_base, write_csv

from trunkline.data.sources import read_table
from trunkline.events import quiet
from trunkline.training.config import resolve
from trunkline.training.loop import Loop
from trunkline.training.run import Run


def config(trunk: str, dtype: str, states: str, epochs: int, train: str) -> dict[str, Any]:
    return {
        "trunk": {"name": trunk, "dtype": dtype},
        "data": {"train": train, "validation": str(shared_data("emotion", "validation.jsonl.gz"))},
        "tasks": {"emotion": {"kind": "sequence", "label": "label"}},
        "method": {"name": "adalayers", "dim": 64, "heads": 16, "alpha": 70, "cutoff": 0.005},
        "training": {
            "epochs": epochs, "optimizer": "adam", "learning_rate": 1e-4, "schedule": "constant", "warmup": 0.0,
            "states": states,
        },
    }  # fmt: skip


def measure(trunk: str, dtype: str, epochs: int, train: str, folder: Path) -> list[dict[str, Any]]:
    """Run both fits side by side, an epoch of one after an epoch of the other; return one entry a side."""
    loops: dict[str, Loop] = {}
    total = dict.fromkeys(("store", "live"), 0.0)
    for states in total:
        run = Run(resolve(config(trunk, dtype, states, epochs, train)), quiet)
        start = time.perf_counter()
        loops[states] = run.loop(folder / f"{trunk.replace('/', '-')}-{dtype}-{states}")
        total[states] += time.perf_counter() - start
    for epoch in range(epochs):
        for states in sorted(loops, reverse=epoch % 2 == 0):
            start = time.perf_counter()
            loops[states].epoch()
            total[states] += time.perf_counter() - start
    runs = []
    for states, loop in loops.items():
        learner = loop.learners["emotion"]
        branch = learner.parts["emotion"].branch
        seconds = [epoch.seconds for epoch in loop.cost.epochs]
        runs.append(
            {
                "side": states, "trunk": Path(trunk).name, "dtype": dtype, "mean epoch": statistics.mean(seconds),
                "first epoch": seconds[0], "last epoch": seconds[-1], "end to end": total[states],
                "layers read at the end": str(list(branch.wanted())),
                "best validation accuracy": learner.progress.best_score, "seconds": seconds,
            }
        )  # fmt: skip
    return runs


def subset(train: str, path: Path, count: int) -> str:
    """Write `count` of the training rows, drawn at random, to `path`."""
    table = read_table(train)
    write_csv(path, table.select(random.Random(0).sample(range(len(table)), count)), ("text", "label"))
    return str(path)


def main() -> None:
    options = parser(__doc__, repeats=1)
    options.add_argument("--epochs", type=int, default=20, help="epochs of each fit with minilm; a fifth with BERT-base (20)")
    arguments = options.parse_args()
    train = str(shared_data("emotion", "train.jsonl.gz"))
    runs = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["TRUNKLINE_CACHE"] = str(folder / "cache")
        for dtype in ("fp32", "bf16"):
            runs += measure("minilm", dtype, arguments.epochs, train, folder)
        texts = subset(train, folder / "subset.csv", 2000)
        trunk = write_bert_base(folder / "bert-base-shape", vocabulary(read_table(texts).columns["text"]))
        runs += measure(str(trunk), "fp32", max(2, arguments.epochs // 5), texts, folder)
    for store, live in zip(runs[::2], runs[1::2], strict=True):
        store["ratio"] = live["mean epoch"] / store["mean epoch"]
        store["ratio end to end"] = live["end to end"] / store["end to end"]
    finish(result("store_vs_live", runs[0]["ratio"], ">= 10", runs), as_json=arguments.json)


if __name__ == "__main__":
    main()
