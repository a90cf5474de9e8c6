"""Claim: branches trained and tested on the int8 states of minilm score at most 0.3 points below those in fp32.

Emotion (accuracy) and SNIPS slots (F1 of spans), AdaLayers with the settings of `examples/emotion.yaml` and of the demo. Sides:
torch in fp32 and OpenVINO in int8, with the same seeds, splits and states of the same precision on disk; the score is that
of the test split, with the weights that were best on validation. The interval is a paired bootstrap over the test texts: each
resample takes the same texts on both sides and in all seeds. The ratio is the worst loss, in points. Not measured: time
(backends.py).
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import finish, parser, result
from scored import drawn_again, scores
from shapes import shared_data

from trunkline import fit
from trunkline.studies.statistics import Answers
from trunkline.training.answered import load_answers

SIDES: dict[str, dict[str, Any]] = {
    "fp32": {"dtype": "fp32"},
    "int8": {"backend": "openvino", "dtype": "int8"},
}
METRICS = {"emotion": "accuracy", "snips": "f1"}
METHOD = {"name": "adalayers", "dim": 128, "alpha": 16}


def config_of(data: str, trunk: dict[str, Any], seed: int) -> dict[str, Any]:
    training = {"epochs": 8, "learning_rate": 1e-3, "schedule": "one_cycle", "states_dtype": "fp32", "seed": seed}
    trunk = {"name": "minilm", "device": "cpu", **trunk}
    if data == "snips":
        return {
            "trunk": trunk,
            "data": {"train": "snips", "validation": "10%", "test": "snips:test"},
            "tasks": {"task": {"kind": "token", "tokens": "tokens", "tags": "tags", "crf": True}},
            "method": METHOD,
            "training": {**training, "patience": 4},
        }
    splits = ("train", "validation", "test")
    return {
        "trunk": trunk,
        "data": {split: str(shared_data("emotion", f"{split}.jsonl.gz")) for split in splits},
        "tasks": {"task": {"kind": "sequence", "label": "label"}},
        "method": {**METHOD, "dropout": 0.3},
        "training": {**training, "weight_decay": 0.05},
    }


def main() -> None:
    arguments = parser(__doc__, repeats=3)
    arguments.add_argument("--data", nargs="+", choices=["emotion", "snips"], default=["emotion", "snips"])
    options = arguments.parse_args()
    runs, losses = [], []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRUNKLINE_CACHE"] = f"{folder}/cache"
        for data in options.data:
            found: dict[str, list[Answers]] = {side: [] for side in SIDES}
            for seed in range(options.repeats):
                for side, trunk in SIDES.items():
                    place = Path(folder) / f"{data}-{side}-{seed}"
                    fit(config_of(data, trunk, seed), run_dir=place)
                    found[side].append(Answers.of(load_answers(place, "task"), METRICS[data]))
                    [reached] = scores(found[side][-1:])
                    print(f"{data}, {side}, seed {seed}: {reached:.4f}", file=sys.stderr, flush=True)
            drawn = drawn_again(found)
            low, high = np.quantile(drawn["int8"] - drawn["fp32"], [0.025, 0.975])
            each = {side: scores(seeds) for side, seeds in found.items()}
            loss = 100 * (statistics.mean(each["fp32"]) - statistics.mean(each["int8"]))
            losses.append(loss)
            for side, values in each.items():
                runs.append({"side": f"{data}, {side}", "median": statistics.median(values), "scores": values})
            runs.append({"side": f"{data}, int8 - fp32, points", "median": -loss, "low": 100 * low, "high": 100 * high})
    finish(result("int8_quality", max(losses), "<= 0.3", runs), as_json=options.json)


if __name__ == "__main__":
    main()
