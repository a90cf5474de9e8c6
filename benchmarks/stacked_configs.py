"""Claim: 16 configurations of AdaLayers that are trained together take at most five times as long as one.

An epoch of `examples/emotion.yaml` (or another one, `--data`) from stored states, trained as one run and as a stack of 16 that
differ in learning rate, weight decay and seed. `--trunk-again`: what each of 24 configurations of a study costs, an epoch of 24
together by 24, against one that runs the trunk over the training texts itself.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

from common import finish, parser, result
from side_branches import METRICS, example

from trunkline.events import EpochEnded, Publisher
from trunkline.training.config import RunConfig, resolve
from trunkline.training.stacked import fit_stacked

MANY = 16
RATES, DECAYS, SEEDS = (5e-4, 1e-3, 2e-3, 4e-3), (0.0, 0.05), (0, 1, 2)


def configs(config: dict[str, Any], count: int) -> dict[str, RunConfig]:
    """So many configurations, by name: every one differs."""
    grid = [(rate, decay, seed) for seed in SEEDS for decay in DECAYS for rate in RATES]
    found = {}
    for rate, decay, seed in grid[:count]:
        training = {
            **config["training"],
            "epochs": 1,
            "learning_rate": rate,
            "weight_decay": decay,
            "seed": seed,
            "data_seed": 0,
        }
        found[f"{rate:g}-{decay:g}-{seed}"] = resolve({**config, "training": training})
    return found


def epoch_seconds(runs: dict[str, RunConfig]) -> float:
    """Seconds of training in an epoch, without judging."""
    seen: list[float] = []

    def see(event: object) -> None:
        if isinstance(event, EpochEnded):
            seen.append(event.seconds)

    with tempfile.TemporaryDirectory() as folder:
        places = {name: Path(folder) / name for name in runs}
        fit_stacked(runs, places, Path(folder) / "checkpoint", Publisher([see]))
    return seen[0]


def live_seconds(config: dict[str, Any]) -> float:
    """Seconds of an epoch of one configuration that runs the trunk, as it would in every epoch without stored states."""
    live = {**config, "training": {**config["training"], "states": "live"}}
    return epoch_seconds(configs(live, 1))


def main() -> None:
    arguments = parser(__doc__, repeats=3)
    arguments.add_argument("--data", choices=list(METRICS), default="emotion")
    arguments.add_argument("--trunk-again", action="store_true", help="compare 24 with running the trunk for each")
    options = arguments.parse_args()
    config = example(options.data)
    many = 24 if options.trunk_again else MANY
    epoch_seconds(configs(config, 1))  # stores the states
    one, together = [], []
    for _ in range(options.repeats):
        one.append(live_seconds(config) if options.trunk_again else epoch_seconds(configs(config, 1)))
        together.append(epoch_seconds(configs(config, many)))
    sides = [("the trunk again" if options.trunk_again else "one", one), (f"{many} together", together)]
    runs = [
        {"side": side, "seconds": round(statistics.median(own), 2), "rounds": [round(t, 2) for t in own]} for side, own in sides
    ]
    if options.trunk_again:
        ratio = statistics.median(a / (b / many) for a, b in zip(one, together, strict=True))
        finish(result("trunk_again", ratio, ">= 20", runs), as_json=options.json)
    else:
        ratio = statistics.median(b / a for a, b in zip(one, together, strict=True))
        finish(result("stacked_configs", ratio, "<= 5", runs), as_json=options.json)


if __name__ == "__main__":
    main()
