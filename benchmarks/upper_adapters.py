"""Claim: adapters on the upper half of the blocks train at least 1.8x as fast as on all blocks, from stored lower states.

Sides: the training steps of two fits on Emotion, the same minilm, batch size (16) and number of steps: Pfeiffer adapters
in blocks 4 to 6, which begin at block 4 from the states store, and in blocks 1 to 6. Beside it: the upper half with the lower
blocks run anew. Not measured: building the store, tokenising, evaluation and saving.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from common import finish, interleave, parser, ratio_of, result, runs_of
from shapes import shared_data
from tuner_training import BATCH, subset

from trunkline.events import quiet
from trunkline.training.config import resolve
from trunkline.training.run import Run

SIDES = {
    "upper half, lower states stored": ("4-6", "store"),
    "upper half": ("4-6", "live"),
    "all blocks": (None, "live"),
}


def main() -> None:
    options = parser(__doc__, repeats=5)
    options.add_argument("--steps", type=int, default=100, help="steps of a side in a round (100)")
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["TRUNKLINE_CACHE"] = str(folder / "cache")
        train, loops = subset(folder, arguments.steps * BATCH), {}
        for side, (layers, states) in SIDES.items():
            values = {
                "trunk": "minilm",
                "data": {"train": train, "validation": str(shared_data("emotion", "validation.jsonl.gz"))},
                "tasks": {"emotion": {"kind": "sequence", "label": "label"}},
                "method": {"name": "adapter", "layers": layers},
                "training": {
                    "epochs": 1000,
                    "batch_size": BATCH,
                    "schedule": "linear",
                    "states": states,
                    "evaluate_every": 10**9,
                },
            }
            loops[side] = Run(resolve(values), quiet).loop(folder / side)

        def epoch(side: str) -> float:
            loops[side].epoch()
            return loops[side].cost.epochs[-1].seconds

        sides = {side: (lambda side=side: epoch(side)) for side in SIDES}
        times = interleave(sides, repeats=arguments.repeats, measure=lambda side: side())
    runs = runs_of(times)
    for run in runs:
        run["examples per second"] = arguments.steps * BATCH / run["median"]
    ratio = ratio_of(times, "all blocks", "upper half, lower states stored")
    finish(result("upper_adapters", ratio, ">= 1.8", runs), as_json=arguments.json)


if __name__ == "__main__":
    main()
