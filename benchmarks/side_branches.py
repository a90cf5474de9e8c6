"""Claim: AdaLayers beats the best single layer of minilm significantly, on Emotion, on WNUT 2017 and on CoLA.

One table for a data set: every layer alone, the layer that variability chooses, probe, scalar mix, Head2Toe, routing, ladder,
AdaLayers, and the ensemble of all of these but the single layers, weighted on validation. Data, task and training are those
of `examples/<data>.yaml`; AdaLayers, single layers and variability have its method's keys, the others their defaults, but for
routing: 16 vectors of 64 numbers, as its default for texts, 64 of the trunk's width, takes many times as long. Each
row has the same search: its learning rate is the one of `--rates` with the best validation score on the first seed. The best
single layer is chosen by its mean on validation.

`test` is the mean over the seeds, in its data set's metric: accuracy, F1 of spans, or Matthews correlation. Its interval is
a bootstrap over the test rows, 95 %; so is that of the difference to the best single layer, with the same rows on both sides.
The runs of one seed are trained together (training/stacked.py). `epoch's seconds` are of the first epoch of a run of its own,
from stored states; of the ensemble, of its members. Shares and the order of batches are drawn by one seed for all runs.
The ratio is the lower end of the interval of AdaLayers' difference. `--runs` keeps the runs, so that a second call resumes.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from common import finish, parser, result
from scored import drawn_again, predicted, scores
from shapes import shared_data

from trunkline import fit
from trunkline.branches import methods
from trunkline.errors import TrunklineError
from trunkline.events import quiet
from trunkline.studies.statistics import Answers
from trunkline.training.answered import load_answers
from trunkline.training.config import RunConfig, resolve
from trunkline.training.ensembling import make_ensemble
from trunkline.training.fit import RunResult
from trunkline.training.stacked import fit_stacked

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
METRICS = {"emotion": "accuracy", "wnut17": "f1", "cola": "matthews"}
LAYERS = 6  # of minilm, besides its embeddings
MEMBERS = ("variability", "probe", "scalar_mix", "head2toe", "routing", "ladder", "adalayers")


@dataclass
class Row:
    """What is known of a line of the table: by seed, where its branch is."""

    rate: float | None = None
    validation: list[float] = field(default_factory=list)
    answers: list[Answers] = field(default_factory=list)
    seconds: float = 0.0
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
    others: dict[str, dict[str, Any]] = {name: {"name": name} for name in MEMBERS}
    others["routing"] |= {"vectors": 16, "dim": 64}
    return layers | others | {"variability": alike("variability"), "adalayers": method}


def config_of(config: dict[str, Any], method: dict[str, Any], rate: float, seed: int) -> RunConfig:
    """The config of a run; what is drawn from the data is the same for all seeds."""
    training = {**config["training"], "learning_rate": rate, "seed": seed, "data_seed": 0}
    return resolve({**config, "method": method, "training": training})


def trained(runs: Mapping[str, RunConfig], folder: Path) -> dict[str, RunResult]:
    """The results of runs, by name, that are trained together."""
    found = fit_stacked(runs, {name: folder / name for name in runs}, folder / "checkpoint", quiet)
    for one in found.values():
        if isinstance(one, TrunklineError):
            raise one
    return found


def add(row: Row, result: RunResult, metric: str) -> None:
    [(name, task)] = result.tasks.items()
    row.validation.append(task["validation"][task["monitor"]])
    row.answers.append(Answers.of(load_answers(result.path, name), metric))
    row.parameters = result.cost["added_parameters"][name]
    row.branches.append(result.path / "branches" / name)


def table(data: str, seeds: int, rates: list[float], runs: Path) -> tuple[list[dict[str, Any]], float]:
    """The rows of a data set's table, and the lower end of AdaLayers' difference to the best single layer."""
    config, metric = example(data), METRICS[data]
    methods_of = sides(config["method"])
    test, rows = config["data"]["test"], {name: Row() for name in (*methods_of, "ensemble")}

    def say(name: str, seed: int) -> None:
        row = rows[name]
        [reached] = scores(row.answers[-1:])
        print(
            f"{data}, seed {seed}, {name}: validation {row.validation[-1]:.4f}, test {reached:.4f}, rate {row.rate}",
            file=sys.stderr,
            flush=True,
        )

    for seed in range(seeds):
        tried = {name: rates if rows[name].rate is None else [rows[name].rate] for name in methods_of}
        planned = {(name, rate): f"{name.replace(' ', '-')}-{rate:g}" for name, own in tried.items() for rate in own}
        configs = {place: config_of(config, methods_of[name], rate, seed) for (name, rate), place in planned.items()}
        found = trained(configs, runs / data / f"seed-{seed}")
        for name, own in tried.items():
            results = {rate: found[planned[name, rate]] for rate in own}
            judged = {rate: next(iter(one.tasks.values())) for rate, one in results.items()}
            rate = max(results, key=lambda rate, own=judged: own[rate]["validation"][own[rate]["monitor"]])
            rows[name].rate = rate
            add(rows[name], results[rate], metric)
            say(name, seed)
        members, row = [rows[name] for name in MEMBERS], rows["ensemble"]
        place = runs / data / f"seed-{seed}" / "ensemble"
        shutil.rmtree(place, ignore_errors=True)
        made = make_ensemble([member.branches[-1] for member in members], place, weights="validation")
        assert made.score is not None
        row.validation.append(made.score)
        row.answers.append(predicted(place, test, members[-1].answers[-1]))
        row.parameters = sum(member.parameters for member in members)
        say("ensemble", seed)
        shares = ", ".join(f"{name} {share:.2f}" for name, share in zip(MEMBERS, made.shares, strict=True))
        print(f"  weights: {shares}", file=sys.stderr, flush=True)
    for name, method in methods_of.items():
        rows[name].seconds = epoch_seconds(config, method, rows[name].rate or rates[0])
    rows["ensemble"].seconds = sum(rows[name].seconds for name in MEMBERS)
    return lines(data, rows)


def epoch_seconds(config: dict[str, Any], method: dict[str, Any], rate: float) -> float:
    """Seconds of the first epoch of a run of its own."""
    with tempfile.TemporaryDirectory() as folder:
        alone = config_of({**config, "training": {**config["training"], "epochs": 1}}, method, rate, 0)
        return fit(alone, run_dir=Path(folder) / "run", progress=False).cost["epochs"][0]["seconds"]


def lines(data: str, rows: dict[str, Row]) -> tuple[list[dict[str, Any]], float]:
    singles = [name for name in rows if name.startswith("layer ")]
    best = max(singles, key=lambda name: statistics.mean(rows[name].validation))
    drawn = drawn_again({name: row.answers for name, row in rows.items()})
    tested = {name: scores(row.answers) for name, row in rows.items()}
    reached = {name: statistics.mean(own) for name, own in tested.items()}
    found, lower = [], 0.0
    for name, row in rows.items():
        own = tested[name]
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
                "epoch's seconds": round(row.seconds, 1),
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
