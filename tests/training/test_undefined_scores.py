"""Scores that are undefined: a correlation with something constant is no number, and no reason to lose a training."""

from __future__ import annotations

import json

import pytest
import torch
from synthetic import config, write_rows

from trunkline.cli import show
from trunkline.cli.common import out
from trunkline.pictures.draw import draw
from trunkline.training.fit import fit
from trunkline.training.learner import Learner, Progress
from trunkline.training.stages import Stage
from trunkline.training.transfer import transfer


@pytest.fixture
def rows(tmp_path):
    return write_rows(tmp_path / "rows.jsonl", 80)


@pytest.fixture
def constant(tmp_path):
    """Rows to be judged on that all have the same number, so that no correlation is defined."""
    path = write_rows(tmp_path / "constant.jsonl", 30, seed=1)
    same = [{**json.loads(line), "stars": 3.0} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in same))
    return path


def judged_on(values, path):
    values["data"] |= {"validation": str(path), "test": str(path)}
    return values


@pytest.mark.parametrize("order", [None, "all"])
def test_a_sequence_with_an_undefined_score_is_reported(order, tiny_trunk_dir, rows, constant, tmp_path):
    values = config(tiny_trunk_dir, rows, tasks=("stars", "mood"), epochs=1, regime="sequential", order=order)
    result = fit({**judged_on(values, constant), "method": {"name": "bitfit"}}, run_dir=tmp_path / "run")
    report = result.summary["transfer"][0]
    assert report["matrix"][0][0] is None and isinstance(report["matrix"][1][1], float)
    assert (report["forgetting"], report["backward_transfer"]) == (None, None) and report["forward_transfer"] is not None
    draw(result.summary)
    for shown in (show.scores(result.tasks), show.transfer(result.summary["transfer"])):
        out().print(shown)


def test_means_over_an_undefined_score_are_undefined():
    class Known:
        monitor, higher_is_better = "m", True

    names = ("a", "b", "c")
    stages = [Stage(f"alone-{name}", (name,), None, final=False) for name in names[1:]]
    stages += [Stage(name, (name,), None, order=0, continues=name != "a") for name in names]

    def report(**undefined):
        scored = [{"b": 0.5}, {"c": 0.5}, {"a": 0.8}, {"a": 0.7, "b": 0.6}, {"a": 0.6, "b": 0.6, "c": 0.7}]
        for place, task in undefined.items():
            scored[int(place[1:])][task] = None
        rows = [{name: {"validation": {"m": value}} for name, value in row.items()} for row in scored]
        [found] = transfer(stages, rows, dict.fromkeys(names, Known()))
        return [found[key] for key in ("forgetting", "backward_transfer", "forward_transfer")]

    assert report() == pytest.approx([0.1, -0.1, 0.15])
    assert report(_3="a") == [None, pytest.approx(-0.1), pytest.approx(0.15)]  # the largest of three is not known
    assert report(_2="a") == [None, None, pytest.approx(0.15)]
    assert report(_4="b") == [None, None, pytest.approx(0.15)]
    assert report(_0="b") == [pytest.approx(0.1), pytest.approx(-0.1), None]


def test_a_cell_without_a_score_is_told_from_one_that_was_not_trained_yet(capsys):
    report = {"order": ["a", "b"], "metric": {"a": "pearson", "b": "accuracy"}, "matrix": [[None, None], [None, 0.5]]}
    report |= {"alone": [None, 0.5], "forgetting": None, "backward_transfer": None, "forward_transfer": 0.0}
    out().print(show.transfer([report]))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["a", "-"] in lines and ["b", "-", "0.5000"] in lines and ["alone", "-", "0.5000"] in lines
    figure = draw({"run": "run", "tasks": {}, "transfer": [report]})
    (axes,) = [axes for axes in figure.axes if axes.texts]
    assert [text.get_text() for text in axes.texts] == ["-", "", "-", "0.500", "-", "0.500"]


def test_while_no_score_is_defined_the_smallest_loss_decides_and_a_finding_says_so(tiny_trunk_dir, rows, tmp_path):
    best = write_rows(
        tmp_path / "best.jsonl", 150, seed=1
    )  # of the one number that is furthest from the mean, so that the loss falls
    best.write_text("".join(f"{line}\n" for line in best.read_text().splitlines() if json.loads(line)["stars"] == 1.0))
    values = judged_on(config(tiny_trunk_dir, rows, tasks=("stars", "mood"), epochs=3), best)
    three = fit(values, run_dir=tmp_path / "three")
    history = three.summary["history"]
    judged = [entry["tasks"]["stars"]["validation"] for entry in history]
    assert [metrics["pearson"] for metrics in judged] == [None] * 3
    best = min(range(3), key=lambda i: judged[i]["loss"])
    assert best > 0 and three.cost["steps_to_best"]["stars"] == history[best]["step"]
    [said] = [finding for finding in three.summary["findings"] if "undefined" in finding]
    assert said.startswith("validation: pearson of task 'stars' was undefined at each of 3 evaluations")


def test_a_joint_run_is_not_stopped_by_a_score_that_is_undefined(tiny_trunk_dir, rows, constant, tmp_path):
    values = judged_on(config(tiny_trunk_dir, rows, tasks=("stars", "mood"), epochs=6, regime="joint", patience=2), constant)
    result = fit({**values, "method": {"name": "full"}}, run_dir=tmp_path / "run")
    history = [entry["tasks"] for entry in result.summary["history"]]
    ranks = [tasks["mood"]["validation"]["accuracy"] - tasks["stars"]["validation"]["loss"] for tasks in history]
    assert len(history) > 3
    best = history[ranks.index(max(ranks))]["mood"]["validation"]
    assert result.tasks["mood"]["validation"]["accuracy"] == best["accuracy"]


@pytest.mark.parametrize("undefined", [None, float("nan"), float("inf")])
def test_no_score_is_better_than_a_defined_one(undefined):
    learner = object.__new__(Learner)
    learner.progress, learner.best = Progress(), {}
    learner.training = type("Training", (), {"schedule": "plateau", "plateau_patience": 2, "patience": 3})
    task = type("Task", (), {"monitor": "m", "higher_is_better": True})
    learner.parts = {"a": type("Part", (), {"task": task, "branch": type("Branch", (), {"depth_penalty": 0.0})})}
    step = iter(range(1, 99))
    learner.weights = lambda: {"of": torch.tensor(learner.now)}

    def judge(score):
        learner.now = next(step)
        learner.judge({"a": {"m": score}}, learner.now)
        return learner.progress.best_step, int(learner.best["of"])

    assert judge(undefined) == (1, 1)
    assert judge(undefined) == (1, 1)
    assert judge(-0.5) == (3, 3)
    assert judge(undefined) == (3, 3)
    assert judge(-0.2) == (5, 5)
