"""Claim: AdaLayers beats the best single layer of minilm significantly, on Emotion, on WNUT 2017 and on CoLA.

One table for a data set: every layer alone, the layer that variability chooses, probe, scalar mix, Head2Toe, routing, ladder,
AdaLayers, and the ensemble of all of these but the single layers, weighted on validation. Data, task and training are those
of `examples/<data>.yaml`; AdaLayers, single layers and variability have its method's keys, the others their defaults. Each
row has the same search: its learning rate is the one of `--rates` with the best validation score on the first seed. The best
single layer is chosen by its mean on validation.

`test` is the mean over the seeds, in its data set's metric: accuracy, F1 of spans, or Matthews correlation. Its interval is
a bootstrap over the test rows, 95 %; so is that of the difference to the best single layer, with the same rows on both sides.
`seconds` are those of a fit (median), with the states stored already by whichever came first; of the ensemble, of its members.
The ratio is the lower end of the interval of AdaLayers' difference. `--runs` keeps the runs, so that a second call resumes.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from common import finish, parser, result
from counted import counts, resampled, score
from shapes import shared_data

from trunkline import fit
from trunkline.branches import methods
from trunkline.training.ensembling import make_ensemble

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
METRICS = {"emotion": "accuracy", "wnut17": "f1", "cola": "matthews"}
LAYERS = 6  # of minilm, besides its embeddings
MEMBERS = ("variability", "probe", "scalar_mix", "head2toe", "routing", "ladder", "adalayers")


@dataclass
class Row:
    """What is known of a line of the table: by seed, where its branch is."""

    rate: float | None = None
    validation: list[float] = field(default_factory=list)
    counts: list[np.ndarray] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    parameters: int = 0
    branches: list[Path] = field(default_factory=list)


def example(data: str) -> dict[str, Any]:
    """The config of a data set's example, with its files where they are here."""
    config = yaml.safe_load((EXAMPLES / f"{data}.yaml").read_text(encoding="utf-8"))
    for split, named in config["data"].items():
        if named.endswith(".gz"):
            config["data"][split] = str(shared_data(data, Path(named).name))
    return config


def sides(method: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The `method` section of every row that is trained; `method` is that of the example, of AdaLayers."""

    def alike(name: str) -> dict[str, Any]:
        known = methods.get(name).Config.model_fields
        return {key: value for key, value in method.items() if key in known} | {"name": name}

    layers = {f"layer {layer}": {**alike("single_layer"), "layer": layer} for layer in range(LAYERS + 1)}
    others = {name: {"name": name} for name in MEMBERS}
    return layers | others | {"variability": alike("variability"), "adalayers": method}


def train(config: dict[str, Any], method: dict[str, Any], rate: float, seed: int, place: Path) -> dict[str, Any]:
    """The result of a fit."""
    training = {**config["training"], "learning_rate": rate, "seed": seed}
    return fit({**config, "method": method, "training": training}, run_dir=place, progress=False).summary


def add(row: Row, summary: dict[str, Any], place: Path, test: str, metric: str) -> None:
    [(name, task)] = summary["tasks"].items()
    row.validation.append(task["validation"][task["monitor"]])
    row.counts.append(counts(place, test, metric))
    row.seconds.append(summary["cost"]["seconds"] - summary["cost"]["parts"].get("states", 0.0))
    row.parameters = summary["cost"]["added_parameters"][name]
    row.branches.append(place / "branches" / name)


def table(data: str, seeds: int, rates: list[float], runs: Path) -> tuple[list[dict[str, Any]], float]:
    """The rows of a data set's table, and the lower end of AdaLayers' difference to the best single layer."""
    config, metric = example(data), METRICS[data]
    test, rows = config["data"]["test"], {name: Row() for name in (*sides(config["method"]), "ensemble")}

    def say(name: str, seed: int) -> None:
        row = rows[name]
        reached = score(row.counts[-1].sum(0), metric)
        print(
            f"{data}, seed {seed}, {name}: validation {row.validation[-1]:.4f}, test {reached:.4f}, {row.seconds[-1]:.0f} s",
            file=sys.stderr,
            flush=True,
        )

    for seed in range(seeds):
        for name, method in sides(config["method"]).items():
            row = rows[name]
            tried = {}
            for rate in rates if row.rate is None else [row.rate]:
                place = runs / data / f"{name.replace(' ', '-')}-{rate:g}-seed-{seed}"
                tried[rate] = train(config, method, rate, seed, place), place
            monitored = {rate: next(iter(found["tasks"].values())) for rate, (found, _) in tried.items()}
            row.rate = max(tried, key=lambda rate, own=monitored: own[rate]["validation"][own[rate]["monitor"]])
            add(row, *tried[row.rate], test, metric)
            say(name, seed)
        members, row = [rows[name] for name in MEMBERS], rows["ensemble"]
        place = runs / data / f"ensemble-seed-{seed}"
        shutil.rmtree(place, ignore_errors=True)
        made = make_ensemble([member.branches[-1] for member in members], place, weights="validation")
        assert made.score is not None
        row.validation.append(made.score)
        row.counts.append(counts(place, test, metric))
        row.seconds.append(sum(member.seconds[-1] for member in members))
        row.parameters = sum(member.parameters for member in members)
        say("ensemble", seed)
        shares = ", ".join(f"{name} {share:.2f}" for name, share in zip(MEMBERS, made.shares, strict=True))
        print(f"  weights: {shares}", file=sys.stderr, flush=True)
    return lines(data, rows, metric)


def lines(data: str, rows: dict[str, Row], metric: str) -> tuple[list[dict[str, Any]], float]:
    singles = [name for name in rows if name.startswith("layer ")]
    best = max(singles, key=lambda name: statistics.mean(rows[name].validation))
    drawn = dict(zip(rows, resampled([row.counts for row in rows.values()], metric), strict=True))
    scores = {name: [float(score(one.sum(0), metric)) for one in row.counts] for name, row in rows.items()}
    reached = {name: statistics.mean(own) for name, own in scores.items()}
    found, lower = [], 0.0
    for name, row in rows.items():
        own = scores[name]
        difference = drawn[name] - drawn[best]
        if name == "adalayers":
            lower = 100 * float(np.quantile(difference, 0.025))
        found.append(
            {
                "side": f"{data}, {name}{' (best)' if name == best else ''}",
                "validation": round(statistics.mean(row.validation), 4),
                "test": round(reached[name], 4),
                "interval": between(drawn[name], 1, 4),
                "seeds' deviation": round(statistics.stdev(own), 4) if len(own) > 1 else None,
                "points over best": None if name == best else round(100 * (reached[name] - reached[best]), 2),
                "their interval": None if name == best else between(difference, 100, 2),
                "rate": row.rate,
                "parameters": row.parameters,
                "seconds": round(statistics.median(row.seconds), 1),
            }
        )
    return found, lower


def between(drawn: np.ndarray, scale: float, digits: int) -> str:
    low, high = (round(scale * float(one), digits) for one in np.quantile(drawn, [0.025, 0.975]))
    return f"{low:.{digits}f} to {high:.{digits}f}"


def main() -> None:
    arguments = parser(__doc__, repeats=5)
    arguments.add_argument("--data", nargs="+", choices=list(METRICS), default=list(METRICS), help="data sets (all)")
    arguments.add_argument("--rates", nargs="+", type=float, default=[1e-3, 1e-2], help="learning rates that each row tries")
    arguments.add_argument("--runs", type=Path, help="a folder that keeps the runs, so that a second call resumes")
    options = arguments.parse_args()
    found, lowest = [], []
    with tempfile.TemporaryDirectory() as folder:
        for data in options.data:
            rows, lower = table(data, options.repeats, options.rates, options.runs or Path(folder))
            found += rows
            lowest.append(lower)
    finish(result("side_branches", min(lowest), ">= 0", found), as_json=options.json)


if __name__ == "__main__":
    main()
