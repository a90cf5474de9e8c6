"""Claim: following the published AdaLayers code costs no quality against the arithmetic before it (slots of SNIPS, Emotion).

Sides: the same fit with the arithmetic of today (positions after the GELU on the features, GELU in the encoder head) and with
that of branches saved with schema 1 (`positions_first: true`, `feed_forward_activation: relu`). SNIPS: its slots alone,
as in examples/snips.yaml. Emotion: as in examples/emotion.yaml but with positions, as a sequence head without them is the
same on both sides. Both train from the states store, with several seeds, and give test scores with their mean and
standard deviation; the ratio is that of the means, the smaller of the two data sets'. Not measured: time.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import finish, parser, result
from shapes import shared_data

from trunkline import fit

SIDES = {"published": {}, "schema 1": {"positions_first": True, "feed_forward_activation": "relu"}}


def configs() -> dict[str, tuple[str, dict[str, Any]]]:
    """By data set, the metric to compare and the config."""
    training = {"epochs": 8, "learning_rate": 1e-3, "schedule": "one_cycle", "states": "store"}
    emotion = {split: str(shared_data("emotion", f"{split}.jsonl.gz")) for split in ("train", "validation", "test")}
    return {
        "snips slots": ("f1", {
            "trunk": "minilm",
            "data": {"train": "snips", "validation": "10%", "test": "snips:test"},
            "tasks": {"task": {"kind": "token", "tokens": "tokens", "tags": "tags", "crf": True}},
            "method": {"name": "adalayers", "dim": 128, "alpha": 16},
            "training": {**training, "patience": 4},
        }),
        "emotion": ("accuracy", {
            "trunk": "minilm",
            "data": emotion,
            "tasks": {"task": {"kind": "sequence", "label": "label"}},
            "method": {"name": "adalayers", "dim": 128, "alpha": 16, "dropout": 0.3, "positions": True},
            "training": {**training, "weight_decay": 0.05},
        }),
    }  # fmt: skip


def main() -> None:
    options = parser(__doc__, repeats=3).parse_args()
    runs, ratios = [], []
    with tempfile.TemporaryDirectory() as folder:
        for data, (metric, config) in configs().items():
            scores: dict[str, list[float]] = {side: [] for side in SIDES}
            for seed in range(options.repeats):
                for side, keys in SIDES.items():
                    own = {**config, "method": {**config["method"], **keys}, "training": {**config["training"], "seed": seed}}
                    done = fit(own, run_dir=Path(folder) / f"{data} {side} {seed}")
                    scores[side].append(done.tasks["task"]["test"][metric])
                    print(f"{data}, {side}, seed {seed}: test {metric} {scores[side][-1]:.4f}", file=sys.stderr)
            for side, found in scores.items():
                about = {"metric": metric, "scores": found, "mean": statistics.mean(found)}
                deviation = statistics.stdev(found) if len(found) > 1 else None
                runs.append({"side": f"{data}, {side}", **about, "deviation": deviation})
            ratios.append(statistics.mean(scores["published"]) / statistics.mean(scores["schema 1"]))
    finish(result("adalayers_arithmetic", min(ratios), ">= 0.99", runs), as_json=options.json)


if __name__ == "__main__":
    main()
