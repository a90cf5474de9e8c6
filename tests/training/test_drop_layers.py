"""Branches that pay for depth: which evaluation is the best one, and which layers are dropped after training."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from synthetic import config, write_rows

from trunkline.events import quiet
from trunkline.model.branch import load_branch
from trunkline.training.config import resolve
from trunkline.training.depth import drop_layers
from trunkline.training.fit import fit
from trunkline.training.forward import split_scores
from trunkline.training.learner import Learner
from trunkline.training.run import Run
from trunkline.training.sections import TrainingSection

METHODS = {
    "adalayers": {"name": "adalayers", "dim": 16, "heads": 2, "alpha": 4, "depth_penalty": 0.2},
    "scalar_mix": {"name": "scalar_mix", "depth_penalty": 0.2},
}


class Priced(torch.nn.Module):
    """What a learner asks of a branch."""

    depth_penalty = 0.1
    reads = (0, 3)

    def __init__(self):
        super().__init__()
        self.map = torch.nn.Linear(3, 2)

    def wanted(self):
        return self.reads

    def parameter_groups(self, weight_decay):
        return [{"params": [*self.parameters()], "weight_decay": weight_decay}]


def learner_of(branch, **training):
    task = SimpleNamespace(monitor="m", higher_is_better=True)
    part = SimpleNamespace(branch=branch, criterion=torch.nn.Identity(), task=task)
    return Learner({"a": part}, TrainingSection(learning_rate=1e-3, **training), torch.device("cpu"))


def test_the_best_evaluation_is_the_lowest_and_then_the_best_one():
    branch = Priced()
    learner = learner_of(branch, patience=2)

    def judged(score, *reads):
        branch.reads = reads
        return learner.judge({"a": {"m": score, "loss": 1.0}}, 1)

    assert judged(0.9, 0, 3) and not judged(0.8, 0, 3)
    assert judged(0.7, 0, 2) and learner.progress.best_score == 0.7 and learner.progress.since_best == 0
    assert judged(0.75, 1, 2) and not judged(0.99, 0, 3) and not learner.progress.stopped
    assert not judged(0.74, 2) and learner.progress.stopped
    branch.depth_penalty = 0.0
    free = learner_of(branch)
    free.judge({"a": {"m": 0.9, "loss": 1.0}}, 1)
    branch.reads = (0,)
    assert not free.judge({"a": {"m": 0.8, "loss": 1.0}}, 2)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("task", ["mood", "stars"])
def test_the_lowest_depth_that_scores_no_worse_is_kept(method, task, tiny_trunk_dir, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 80)
    values = config(tiny_trunk_dir, rows, tasks=(task,), epochs=2, precision="fp32") | {"method": METHODS[method]}
    run = Run(resolve(values), quiet)
    loop = run.loop(tmp_path)
    loop.run()
    (part,) = next(iter(loop.learners.values())).parts.values()
    part.branch.eval()
    (texts,) = loop.sources
    how = {"accelerator": run.accelerator, "precision": "fp32"}
    reads, scores = part.branch.wanted(), {}
    assert len(reads) > 2, "there must be layers to drop"
    for depth in reads:  # one at a time
        lower = copy.deepcopy(part.branch)
        lower.keep([layer for layer in reads if layer <= depth])
        found = split_scores({task: type(part)(part.task, lower, part.criterion)}, texts.validation, **how)
        scores[depth] = found[task][part.task.monitor]
    depth = min(d for d, score in scores.items() if score is not None and score >= scores[reads[-1]])
    (noted,) = drop_layers(loop.learners.values(), loop.sources, run.accelerator, "fp32").values()
    assert (noted["before"], noted["depth"], noted["metric"]) == (reads[-1], depth, part.task.monitor)
    assert noted["untrimmed"] == pytest.approx(scores[reads[-1]], abs=1e-5)
    assert noted["score"] == pytest.approx(scores[depth], abs=1e-5)
    assert part.branch.wanted() == tuple(layer for layer in reads if layer <= depth)


def test_a_run_reports_what_it_dropped_and_saves_the_branch_that_it_scored(tiny_trunk_dir, tmp_path, monkeypatch):
    rows = write_rows(tmp_path / "rows.jsonl", 80)
    values = config(tiny_trunk_dir, rows, tasks=("mood",), epochs=2) | {"method": METHODS["scalar_mix"]}

    def score(parts, split, **how):
        return {name: {"accuracy": 1.0 if int(name) >= 1 else 0.0} for name in parts}

    monkeypatch.setattr("trunkline.training.depth.split_scores", score)
    result = fit(values, run_dir=tmp_path / "run", progress=False)
    task = result.tasks["mood"]
    assert task["depth"] == {"metric": "accuracy", "before": 3, "untrimmed": 1.0, "depth": 1, "score": 1.0}
    assert task["reads"] == [0, 1] and task["layers"]["2"] == task["layers"]["3"] == 0
    assert task["pass"] == {"blocks": 1, "of": 3, "share": 0.3333}
    assert "the layers above 1 (up to 3) dropped" in repr(result)
    branch = load_branch(result.branches["mood"])
    assert branch.module.wanted() == (0, 1) and branch.metrics["validation"] == task["validation"]
