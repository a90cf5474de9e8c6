"""A sweep suggests, prunes and ranks as Optuna does by hand, on the same space with the same seeds; a grid is whole."""

from __future__ import annotations

import itertools
import multiprocessing

import numpy as np
import optuna
import pytest
from sweeptools import EPOCHS, Ended, planned, score, trials_of, values

from trunkline.studies.sweep.search import Sweep

optuna.logging.set_verbosity(optuna.logging.WARNING)
PRUNERS = {
    "none": optuna.pruners.NopPruner,
    "median": optuna.pruners.MedianPruner,
    "hyperband": lambda: optuna.pruners.HyperbandPruner(max_resource=EPOCHS),
}
SAMPLERS = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}


def by_hand(sampler: str, pruner: str, trials: int, seed: int) -> list[tuple]:
    """The trials of a study that is written as Optuna's documents show it."""

    def objective(trial):
        own = int(np.random.SeedSequence([seed, trial.number]).generate_state(1)[0])
        trial.study.sampler = SAMPLERS[sampler](seed=own)
        rate = trial.suggest_float("training.learning_rate", 1e-4, 1e-1, log=True)
        dim = trial.suggest_int("method.dim", 8, 64, step=8)
        dropout = trial.suggest_float("method.dropout", 0, 0.5)
        optimizer = trial.suggest_categorical("training.optimizer", ["adam", "adamw"])
        for epoch in range(1, EPOCHS + 1):
            found = score(rate, dim, dropout, optimizer, epoch)
            trial.report(found, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return found

    study = optuna.create_study(study_name="sweep", direction="maximize", pruner=PRUNERS[pruner]())
    study.optimize(objective, n_trials=trials)
    return [(trial.params, trial.state.name, trial.value, trial.intermediate_values) for trial in study.trials]


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("sampler", "pruner", "trials"),
    [
        ("random", "hyperband", 4),
        pytest.param("tpe", "none", 30, marks=SLOW),
        pytest.param("tpe", "hyperband", 30, marks=SLOW),
        pytest.param("tpe", "median", 30, marks=SLOW),
        pytest.param("random", "median", 30, marks=SLOW),
        pytest.param("random", "hyperband", 30, marks=SLOW),
    ],
)
def test_suggestions_and_pruning_are_those_of_optuna(
    sampler, pruner, trials, known_scores, tiny_trunk_dir, sweep_rows, tmp_path
):
    given = values(tiny_trunk_dir, sweep_rows, sampler=sampler, pruner=pruner, trials=trials, seed=7)
    sweep, ended = Sweep(planned(given), tmp_path / "sweep"), Ended()
    facts = sweep.search(ended).facts
    expected = by_hand(sampler, pruner, trials, 7)
    assert trials_of(sweep) == expected
    states = [state for _, state, _, _ in expected]
    assert ("PRUNED" in states) == (pruner != "none" and trials > 4)
    assert facts["trials"] == {
        "total": trials,
        "complete": states.count("COMPLETE"),
        "pruned": states.count("PRUNED"),
        "failed": 0,
    }
    ranked = sorted((-value, number) for number, (_, state, value, _) in enumerate(expected) if state == "COMPLETE")
    assert [(-one["value"], one["number"]) for one in facts["top"]] == ranked[:10]
    assert [one.number for one in ended] == list(range(trials)) and [one.done for one in ended] == list(range(1, trials + 1))
    assert [one.state.upper() for one in ended] == states
    assert [one.value for one in ended] == [value for _, _, value, _ in expected]
    for (params, *_), config in zip(expected, known_scores.configs, strict=False):
        assert params["training.learning_rate"] == config.training.learning_rate
        assert params["method.dim"] == config.method.dim and isinstance(config.method.dim, int)


GRID = {
    "learning_rate": ["1e-3", 1e-2],
    "method.dim": {"low": 8, "high": 16, "step": 8},
    "method.dropout": {"low": 0, "high": 0.1, "step": 0.1},
    "method.layers": [None],
}
LARGER = {**GRID, "method.layers": [None, [1, 2]]}
COMBINATIONS = list(itertools.product([1e-3, 1e-2], [8, 16], [0.0, 0.1], [None]))


def settings(sweep: Sweep) -> list[tuple]:
    keys = ("training.learning_rate", "method.dim", "method.dropout", "method.layers")
    return sorted((tuple(trial.params[key] for key in keys) for trial in sweep.study.trials), key=repr)


def test_a_grid_is_every_combination_once_whatever_is_asked_for_beyond(known_scores, tiny_trunk_dir, sweep_rows, tmp_path):
    given = values(tiny_trunk_dir, sweep_rows, space=GRID, sampler="grid", trials=1000)
    given["training"]["epochs"] = 1
    sweep = Sweep(planned(given), tmp_path / "sweep")
    facts = sweep.search().facts
    assert settings(sweep) == sorted(COMBINATIONS, key=repr) and facts["trials"]["total"] == 8
    best = max(COMBINATIONS, key=lambda one: score(*one[:3], "adamw", 1))
    found = facts["best"]["settings"]
    assert (found["training.learning_rate"], found["method.dim"], found["method.dropout"]) == best[:3]


def _part(given, path):
    Sweep(planned(given), path).search()


@pytest.mark.slow
def test_processes_share_a_grid_and_none_of_it_is_tried_twice(known_scores, tiny_trunk_dir, sweep_rows, tmp_path):
    given = values(tiny_trunk_dir, sweep_rows, space=LARGER, sampler="grid", trials=None)
    context = multiprocessing.get_context("fork")
    several = [context.Process(target=_part, args=(given, tmp_path / "sweep")) for _ in range(3)]
    for one in several:
        one.start()
    for one in several:
        one.join(300)
        assert one.exitcode == 0
    both = [(*one[:3], layers) for one in COMBINATIONS for layers in (None, "[1, 2]")]
    assert settings(Sweep(planned(given), tmp_path / "sweep")) == sorted(both, key=repr)
