"""What one optimiser does with gradients and scores, against torch's own parts put together by hand."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from trunkline.training.learner import Learner
from trunkline.training.sections import TrainingSection


class Branch(nn.Module):
    depth_penalty = 0.0

    def __init__(self):
        super().__init__()
        self.map = nn.Linear(3, 2)

    def parameter_groups(self, weight_decay):
        return [{"params": [self.map.weight], "weight_decay": weight_decay}, {"params": [self.map.bias], "weight_decay": 0.0}]


class Part:
    def __init__(self, branch):
        self.branch, self.criterion = branch, nn.Identity()
        self.task = type("Task", (), {"monitor": "m", "higher_is_better": True})


def learner(**training):
    torch.manual_seed(0)
    return Learner({"a": Part(Branch())}, TrainingSection(**{"learning_rate": 1e-3, **training}), torch.device("cpu"))


def gradients(count):
    generator = torch.Generator().manual_seed(1)
    return [[torch.randn(2, 3, generator=generator), torch.randn(2, generator=generator)] for _ in range(count)]


@pytest.mark.parametrize(
    "training",
    [
        {},
        {"optimizer": "adam"},
        {"clip_norm": 0.01},
        {"clip_norm": None},
        {"weight_decay": 0.5},
        {"schedule": "linear", "warmup": 0.2},
        {"schedule": "cosine", "warmup": 0.0},
        {"schedule": "constant", "learning_rate": 0.1},
    ],
    ids=str,
)
def test_steps_are_those_of_torch(training):
    ours = learner(**training)
    theirs = copy.deepcopy(ours.parts["a"].branch)
    section, steps = ours.training, 10
    made = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[section.optimizer]
    optimizer = made(theirs.parameter_groups(section.weight_decay), lr=section.learning_rate)
    warmup = round(section.warmup * steps)
    by_hand = {
        "linear": lambda n: n / warmup if n < warmup else (steps - n) / (steps - warmup),
        "constant": lambda n: n / warmup if n < warmup else 1.0,
    }
    if section.schedule == "one_cycle":
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, section.learning_rate, total_steps=steps + 1, pct_start=(warmup + 1) / (steps + 1), cycle_momentum=False
        )
    elif section.schedule == "cosine":
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    else:
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, by_hand[section.schedule])
    for number, found in enumerate(gradients(steps)):
        for branch in (ours.parts["a"].branch, theirs):
            branch.map.weight.grad, branch.map.bias.grad = (gradient.clone() for gradient in found)
        if section.clip_norm is not None:
            norm = torch.cat([gradient.flatten() for gradient in found]).norm()
            for parameter in theirs.parameters():
                parameter.grad *= min(1.0, section.clip_norm / float(norm + 1e-6))
        ours.step(number / steps)
        optimizer.step()
        schedule.step()
        for left, right in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-6)
            assert left.grad is None


def test_plateau_halves_the_rate_and_patience_stops():
    own = learner(schedule="plateau", warmup=0.0, plateau_patience=2, patience=5, learning_rate=0.1)
    scores = [0.5, 0.4, 0.4, 0.6, 0.1, 0.1, 0.1, 0.1, 0.1]
    rates, stopped = [], []
    for step, score in enumerate(scores, 1):
        own.judge({"a": {"m": score}}, step)
        for parameter in own.parameters():
            parameter.grad = torch.ones_like(parameter)
        own.step(0.5)
        rates.append(own.optimizer.param_groups[0]["lr"])
        stopped.append(own.progress.stopped)
    assert rates == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.05, 0.025, 0.025, 0.0125, 0.0125])
    assert stopped == [False] * 8 + [True] and (own.progress.best_score, own.progress.best_step) == (0.6, 4)


def test_the_best_weights_are_those_of_the_best_score():
    """Also where no loss is told with it."""
    own = learner()
    weight, kept = own.parts["a"].branch.map.weight, {}
    for step, score in enumerate([0.1, 0.7, 0.7, 0.3], 1):
        with torch.no_grad():
            weight.fill_(step)
        own.judge({"a": {"m": score}}, step)
        kept[step] = own.best["a/branch.map.weight"]
    assert [float(value[0, 0]) for value in kept.values()] == [1, 2, 2, 2]
    own.settle()
    assert (weight == 2).all()


def judged(own, evaluations):
    """The weights kept after each evaluation, which are filled with its number from 1."""
    weight, kept = own.parts["a"].branch.map.weight, []
    for step, metrics in enumerate(evaluations, 1):
        with torch.no_grad():
            weight.fill_(step)
        own.judge(metrics, step)
        kept.append(int(own.best["a/branch.map.weight"][0, 0]))
    return kept


def test_of_equal_scores_the_smaller_loss_is_the_better():
    """A correlation of 0 while all texts get one answer, an accuracy of 1 on a few rows: the first weights are not the best."""
    own = learner(patience=2)
    losses = [0.9, 0.8, 0.7, 0.75, 0.6]
    assert judged(own, [{"a": {"m": 0.0, "loss": loss}} for loss in losses]) == [1, 2, 3, 3, 5]
    assert not own.progress.stopped and own.progress.since_best == 0
    assert judged(own, [{"a": {"m": -0.1, "loss": 0.1}}, {"a": {"m": 0.0, "loss": 0.7}}]) == [5, 5] and own.progress.stopped


def test_where_the_score_is_never_defined_the_loss_decides():
    own = learner(patience=2)
    assert judged(own, [{"a": {"m": None, "loss": loss}} for loss in (0.9, 0.5, 0.7, 0.4)]) == [1, 2, 2, 4]
    assert (own.progress.best_step, own.progress.best_score, own.progress.stopped) == (4, None, False)


def test_a_task_without_a_defined_score_does_not_decide_for_the_others():
    """Learned jointly: the second task's targets are constant on validation, so its loss stands for its score."""
    own = learner(patience=2)
    own.parts["b"] = Part(Branch())
    scores = [(0.5, 0.9), (0.8, 0.9), (0.6, 0.9), (0.8, 0.5), (0.9, 0.5), (0.6, 0.4)]
    evaluations = [{"a": {"m": score, "loss": 0.3}, "b": {"m": None, "loss": loss}} for score, loss in scores]
    assert judged(own, evaluations) == [1, 2, 2, 4, 5, 5]
    assert judged(own, [{"a": {"m": 0.1, "loss": 2.0}, "b": {"m": 0.0, "loss": 2.0}}]) == [1], "a defined score goes first"


def test_progress_from_before_ranks_were_kept_goes_on_from_its_score():
    for higher, scores, kept in ((True, [0.4, 0.5, 0.6], [None, 2, 3]), (False, [0.6, 0.5, 0.4], [None, 2, 3])):
        own = learner()
        own.parts["a"].task.higher_is_better = higher
        own.progress.best_score = 0.5
        for step, score in enumerate(scores, 1):
            own.judge({"a": {"m": score, "loss": 9.0}}, step)
            assert (own.progress.best_step or None) == kept[step - 1]
