"""Sweeps on a tiny trunk, and a stand-in for `fit` with a known score where only the search is tested."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

from trunkline.events import Evaluated, Publisher
from trunkline.studies.sweep.config import sweep_of
from trunkline.studies.sweep.plan import Plan
from trunkline.studies.sweep.search import Sweep
from trunkline.studies.sweep.trials import TrialEnded

SPACE = {
    "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
    "method.dim": {"low": 8, "high": 64, "step": 8},
    "method.dropout": {"low": 0, "high": 0.5},
    "optimizer": ["adam", "adamw"],
}
EPOCHS = 9


def values(trunk: Path, rows: Path, **sweep) -> dict:
    return {
        "trunk": {"name": str(trunk), "dtype": "fp32", "device": "cpu"},
        "data": {"train": str(rows), "validation": "20%", "test": "20%"},
        "tasks": {"mood": {"kind": "sequence", "label": "label"}},
        "method": {"name": "adalayers", "dim": 16, "heads": 2},
        "training": {"epochs": EPOCHS, "batch_tokens": 256, "patience": None, "seed": 3},
        "sweep": {"space": SPACE, "trials": 4, **sweep},
    }


def planned(given: dict, name: str = "sweep") -> Plan:
    return Plan(sweep_of(given, name=name))


def score(learning_rate: float, dim: int, dropout: float, optimizer: str, epoch: int) -> float:
    """A smooth function with one top, which is reached the slower the smaller the rate is."""
    distance = (math.log10(learning_rate) + 2) ** 2 + (dim / 64 - 0.6) ** 2 + (dropout - 0.2) ** 2 + (optimizer == "adam") / 10
    return math.exp(-distance) * (1 - math.exp(-epoch * (0.3 + 10 * learning_rate)))


def score_of(config, epoch: int) -> float:
    training, method = config.training, config.method
    return score(training.learning_rate, method.dim, method.dropout, training.optimizer, epoch)


class KnownScores:
    """Takes the arguments of `fit` and returns at once what a run of known scores would; `configs` are those of all calls."""

    def __init__(self, before=lambda config: None) -> None:
        self.configs, self.before = [], before

    def __call__(self, config, *, run_dir, progress, subscribers):
        assert not progress
        self.configs.append(config)
        self.before(config)
        publish, history = Publisher(subscribers), []
        for epoch in range(1, config.training.epochs + 1):
            task = {"validation": {"accuracy": score_of(config, epoch)}, "best": True}
            history.append({"step": 4 * epoch, "epoch": epoch, "tasks": {"mood": task}})
            publish(Evaluated(4 * epoch, epoch, {"mood": task}))
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / "result.json").write_text(json.dumps({}))
        return SimpleNamespace(tasks={"mood": task}, summary={"history": history}, path=run_dir)


class Ended(list):
    """A subscriber that keeps the ends of trials."""

    def __call__(self, event) -> None:
        if isinstance(event, TrialEnded):
            self.append(event)


def trials_of(sweep: Sweep) -> list[tuple]:
    """What is to be the same whenever the same is searched: by trial its parameters, state, value and reports."""
    return [
        (trial.params, trial.state.name, trial.value, trial.intermediate_values)
        for trial in sweep.study.get_trials(deepcopy=False)
    ]
