"""The best trial: its config as a file, trained again with several seeds and judged on test, once."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from trunkline.errors import BadInput, TrunklineError
from trunkline.events import Subscriber
from trunkline.files import read_object, write_text
from trunkline.studies.sweep import trials
from trunkline.studies.sweep.plan import Plan
from trunkline.studies.wording import of_study
from trunkline.training.config import RunConfig
from trunkline.training.fit import RunResult, fit

if TYPE_CHECKING:
    import optuna

BEST = "best.yaml"
SHOWN = 10  # trials that are listed


@dataclass(frozen=True)
class Winner:
    """What a sweep has found.

    Attributes:
        facts: plain JSON: what `trunkline sweep --json` prints.
        runs: of the best settings, by seed.
    """

    facts: dict[str, Any]
    runs: Mapping[int, RunResult] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        plan: Plan,
        study: optuna.Study,
        path: Path,
        storage: str,
        publish: Subscriber,
        say: Callable[[str], None],
    ) -> Winner:
        """Write best.yaml, train the best settings again, and put together what is known.

        Raises:
            TrunklineError: no trial has a score, or the best settings cannot be trained again.
        """
        ranked = trials.complete(study, best_first=True)
        over = trials.finished(study)
        failed = {trial.number: _why(path, trial.number) for trial in over if trials.FAILED in trial.user_attrs}
        if not ranked:
            why = next(iter(failed.values()), "all were pruned")
            raise TrunklineError(f"{path}: none of {len(over)} trials has a score ({why})")
        best = ranked[0]
        settings = plan.space.settings(best.params)
        config = write_best(plan, settings, path, best.number, best.value or 0.0)
        runs = _repeated(plan, settings, path, publish, say)
        facts = {
            "name": plan.config.name,
            "folder": str(path),
            "storage": storage,
            "goal": plan.goal.named(),
            "direction": plan.goal.direction,
            "metrics": dict(plan.goal.metrics),
            "trials": {
                "total": len(over),
                "complete": len(ranked),
                "pruned": len(over) - len(ranked) - len(failed),
                "failed": len(failed),
            },
            "best": {**_facts(plan, best, path), "config": str(config)},
            "top": [_facts(plan, trial, path) for trial in ranked[:SHOWN]],
            "importances": importances(study) if len(plan.space.parameters) > 1 else {},
            "repeated": {str(seed): str(run.path) for seed, run in runs.items()},
            "tasks": _scores(plan, runs),
            "failed": {str(number): why for number, why in failed.items()},
            "findings": plan.findings,
        }
        return cls(facts, runs)


def write_best(plan: Plan, settings: Mapping[str, Any], path: Path, number: int, value: float) -> Path:
    """Write the config of a run with these settings, as `trunkline fit` takes it; return the file."""
    config: RunConfig = plan.run(settings, plan.seeds[0])
    head = f"# The best settings of the sweep {plan.config.name!r}: trial {number}, {plan.goal.named()} {value:.4f}.\n"
    write_text(path / BEST, head + yaml.safe_dump(config.as_dict(), sort_keys=False, allow_unicode=True))
    return path / BEST


def best_configs(plan: Plan, study: optuna.Study) -> dict[str, RunConfig]:
    """By key, the runs in which the best settings are trained again; none where no trial has a score."""
    ranked = trials.complete(study, best_first=True)
    if not ranked or (not plan.tested and len(plan.seeds) == 1):
        return {}
    configs = (plan.run(plan.space.settings(ranked[0].params), seed) for seed in plan.seeds)
    return {config.identity()[:20]: config for config in configs}


def importances(study: optuna.Study) -> dict[str, float]:
    """By key, its share of what makes good trials good (PED-ANOVA, Watanabe et al. 2023); empty for too few trials."""
    import optuna

    if len(trials.complete(study, best_first=False)) < 4:
        return {}
    try:
        found = optuna.importance.get_param_importances(study)
    except (RuntimeError, ValueError):  # all trials are alike
        return {}
    return {key: float(value) for key, value in found.items()}


def _repeated(
    plan: Plan, settings: Mapping[str, Any], path: Path, publish: Subscriber, say: Callable[[str], None]
) -> dict[int, RunResult]:
    """The runs of the best settings by seed; none where they would say no more than the trial."""
    if not plan.tested and len(plan.seeds) == 1:
        return {}
    found = {}
    for seed in plan.seeds:
        config = plan.run(settings, seed)
        key = config.identity()[:20]
        place = path / "runs" / key
        if not (place / "result.json").exists():
            say(f"training the best settings with seed {seed}" + (", to be judged on test" if plan.tested else ""))
        with trials.held(path / "locks" / key):
            try:
                found[seed] = fit(config, run_dir=place, progress=False, subscribers=[publish])
            except BadInput as error:
                raise of_study(error) from None
    return found


def _scores(plan: Plan, runs: Mapping[int, RunResult]) -> dict[str, Any]:
    """By task its metric, and by split the score of each run, their mean and deviation."""
    found: dict[str, Any] = {}
    for task, metric in plan.goal.metrics.items() if runs else ():
        found[task] = {"metric": metric}
        for split in ("validation", "test"):
            scores = {str(seed): run.tasks[task][split].get(metric) for seed, run in runs.items() if split in run.tasks[task]}
            known = [score for score in scores.values() if score is not None]
            if scores:
                found[task][split] = {
                    "mean": statistics.fmean(known) if known else None,
                    "deviation": statistics.stdev(known) if len(known) > 1 else None,
                    "by_seed": scores,
                }
    return found


def _facts(plan: Plan, trial: optuna.trial.FrozenTrial, path: Path) -> dict[str, Any]:
    run = path / "runs" / str(trial.user_attrs.get("run"))
    return {
        "number": trial.number,
        "value": trial.value,
        "settings": plan.space.settings(trial.params),
        "scores": trial.user_attrs.get("scores", {}),
        "seconds": None if trial.duration is None else round(trial.duration.total_seconds(), 2),
        "run": str(run) if run.is_dir() else None,  # else on another machine
    }


def _why(path: Path, number: int) -> str:
    file = path / "failed" / f"{number}.json"
    return str(read_object(file)["reason"]) if file.is_file() else "in another folder"
