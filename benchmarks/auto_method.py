"""Claim: `method: auto` is within 0.3 points of the best single method, in at most three times the time of one AdaLayers fit.

Data, tasks and training are those of `examples/<data>.yaml`, without its learning rate; `--rows` takes fewer training rows.
The layer states are stored before anything is measured. In each round two fits take turns: `adalayers`, as it is by default,
and `auto`; the ratio of their wall seconds is that of the whole calls of `fit`, with reading data and loading the trunk.

Then every method of the family of auto is trained by itself, to the end, with each of its rates (a linear method that has one
rate there also with three times of it); its rate is the one with the best validation score. They are trained as one
stack (training/stacked.py), which gives the results of runs of their own. The best single method of a task is the one with the
best validation score, as it is for somebody who has tried all of them. The best on test is shown, too: it is chosen by what
it is compared by, and so better than it really is. The floor is the simple baseline of a study that is best on validation
(docs/studies.md).

`points` is how far the test score of auto (the mean over rounds, each with its own seed) is below that of the best single
method, in the metric of the task. The ratio of the result is the largest of them over data sets and tasks, in units of 0.3
points, or the time ratio in units of 3, whichever is larger. Not measured: trunks other than minilm.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from common import finish, parser, result
from shapes import shared_data

from trunkline import fit
from trunkline.branches import Output, TrunkShape
from trunkline.errors import TrunklineError
from trunkline.events import quiet
from trunkline.studies.floors.measuring import measure_floors
from trunkline.training.auto.family import Candidate, family, other_rates
from trunkline.training.config import resolve
from trunkline.training.run import Run
from trunkline.training.stacked import fit_stacked
from trunkline.training.stored import build_states

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
DATA = ("emotion", "snips", "hwu64", "cola", "imdb", "nlupp")
POINTS, TIMES = 0.3, 3.0


def example(data: str, rows: int | None, tasks: Sequence[str] | None = None, test: Path | None = None) -> dict[str, Any]:
    """The config of a data set's example, without a method and a rate, and with its files where they are here.

    Args:
        data: its name.
        rows: of training; None: all.
        tasks: those that are taken; None: all.
        test: a file in the place of its test split.
    """
    config: dict[str, Any] = yaml.safe_load((EXAMPLES / f"{data}.yaml").read_text(encoding="utf-8"))
    for split, named in config["data"].items():
        if str(named).endswith(".gz"):
            config["data"][split] = str(shared_data(data, Path(named).name))
    if rows is not None:
        config["data"]["rows"] = rows
    if tasks is not None:
        config["tasks"] = {name: config["tasks"][name] for name in tasks}
    if test is not None:
        config["data"]["test"] = str(test.resolve())
    del config["method"], config["training"]["learning_rate"]
    return config


def timed(config: dict[str, Any], method: str, seed: int, folder: Path) -> tuple[dict[str, Any], float, float]:
    """result.json of a fit, its wall seconds and its processor seconds."""
    values = {**config, "method": method, "training": {**config["training"], "seed": seed, "data_seed": 0}}
    began, busy = time.monotonic(), time.process_time()
    found = fit(values, run_dir=folder / f"{method}-{seed}", progress=False)
    return found.summary, time.monotonic() - began, time.process_time() - busy


def singles(config: dict[str, Any], task: str, folder: Path) -> dict[str, tuple[float, float]]:
    """By method, validation and test score of the rate that is better on validation."""
    values = {**config, "tasks": {task: config["tasks"][task]}}
    run = Run(resolve({**values, "method": "probe"}), quiet)
    own = run.tasks[task]
    output = Output(own.answers.level, own.outputs, own.named_labels is None)
    members: dict[str, list[float]] = {}
    methods = {}
    for one in family(TrunkShape(run.trunk.num_layers, run.trunk.hidden_size), output):
        name = Candidate(one.method, 1.0).name.removesuffix(", rate 1")
        members.setdefault(name, []).extend(each.learning_rate for each in (one, *other_rates(one)))
        methods[name] = one.method.model_dump(mode="json")
    configs = {}
    for name, rates in members.items():
        for rate in rates if len(rates) > 1 else [rates[0], 3 * rates[0]]:
            training = {**config["training"], "learning_rate": rate, "seed": 0}
            configs[f"{name}@{rate:.3g}"] = resolve({**values, "method": methods[name], "training": training})
    places = {name: folder / task / name.replace(",", "").replace(" ", "-") for name in configs}
    found = fit_stacked(configs, places, folder / task / "checkpoint", quiet)
    best: dict[str, tuple[float, float]] = {}
    sign = 1 if own.higher_is_better else -1
    for key, one in found.items():
        if isinstance(one, TrunklineError):
            continue
        name, scores = key.rpartition("@")[0], one.summary["tasks"][task]
        pair = tuple(scores[split][own.monitor] for split in ("validation", "test"))
        if name not in best or sign * pair[0] > sign * best[name][0]:
            best[name] = pair
    return best


def floor(config: dict[str, Any], task: str) -> tuple[float, float] | None:
    """Validation and test score of the best floor on validation; None where there is none."""
    values = {**config, "tasks": {task: config["tasks"][task]}, "method": "probe"}
    found = [one.measured.metrics for one in measure_floors(resolve(values)).results]
    metric = Run(resolve(values), quiet).tasks[task].monitor
    best = max(found, key=lambda one: one["validation"][metric] or 0.0, default=None)
    return None if best is None else (best["validation"][metric], best["test"][metric])


def table(data: str, config: dict[str, Any], repeats: int, folder: Path) -> tuple[list[dict[str, Any]], list[float]]:
    """The lines of a data set, and the points and times that the claim is about, in units of what it allows."""
    lines, units = [], []
    build_states(resolve({**config, "method": "auto"}))
    runs: dict[str, list[tuple[dict[str, Any], float, float]]] = {"adalayers": [], "auto": []}
    for seed in range(repeats):
        for method in runs if seed % 2 else reversed(runs):
            runs[method].append(timed(config, method, seed, folder / data))
            print(
                f"{data}, {method}, seed {seed}: {runs[method][-1][1]:.1f} s, processor {runs[method][-1][2]:.1f} s",
                file=sys.stderr,
            )
    wall, busy = (
        statistics.median(a[place] / b[place] for a, b in zip(runs["auto"], runs["adalayers"], strict=True)) for place in (1, 2)
    )
    units.append(wall / TIMES)
    for task in config["tasks"]:
        own = [summary["tasks"][task] for summary, _, _ in runs["auto"]]
        metric = own[0]["monitor"]
        known = singles(config, task, folder / data / "singles")
        best = max(known, key=lambda name: known[name][0])
        top = max(known, key=lambda name: known[name][1])
        reached = statistics.mean(one["test"][metric] for one in own)
        below = 100 * (known[best][1] - reached)
        units.append(below / POINTS)
        low = floor(config, task)
        told = [summary["auto"]["tasks"][task]["chosen"] for summary, _, _ in runs["auto"]]
        about = {"data": data, "task": task, "metric": metric}
        first = statistics.mean(one["validation"][metric] for one in own)
        lines.append(
            {
                **about,
                "side": f"auto: {', '.join(dict.fromkeys(told))}",
                "validation": round(first, 4),
                "test": round(reached, 4),
                "points below the best": round(below, 2),
                "below the best on test": round(100 * (known[top][1] - reached), 2),
                "wall ratio": round(wall, 2),
                "processor ratio": round(busy, 2),
            }
        )
        plain = [summary["tasks"][task] for summary, _, _ in runs["adalayers"]]
        scores = [statistics.mean(one[split][metric] for one in plain) for split in ("validation", "test")]
        lines.append({**about, "side": "adalayers, default", "validation": round(scores[0], 4), "test": round(scores[1], 4)})
        if low is not None:
            lines.append({**about, "side": "floor", "validation": round(low[0], 4), "test": round(low[1], 4)})
        for name, (validation, test) in sorted(known.items(), key=lambda item: -item[1][0]):
            lines.append({**about, "side": name, "validation": round(validation, 4), "test": round(test, 4)})
    return lines, units


def main() -> None:
    arguments = parser(__doc__, repeats=3)
    arguments.add_argument("--data", nargs="+", choices=DATA, default=list(DATA), help="data sets (all)")
    arguments.add_argument("--rows", type=int, help="training rows; all by default")
    arguments.add_argument("--tasks", nargs="+", metavar="NAME", help="tasks of the data sets (all)")
    arguments.add_argument("--test", type=Path, metavar="FILE", help="rows to test on, in the place of the data set's own")
    options = arguments.parse_args()
    found, units = [], []
    for data in options.data:
        with tempfile.TemporaryDirectory() as folder:
            config = example(data, options.rows, options.tasks, options.test)
            lines, own = table(data, config, options.repeats, Path(folder))
        found += lines
        units += own
    finish(result("auto_method", max(units), "<= 1", found), as_json=options.json)


if __name__ == "__main__":
    main()
