"""What is trained with one optimiser and judged as one: modules, stopping and the best weights.

A side branch learns alone: learners that share texts share batches and layer states and no weights, so training several
tasks together changes none of them (but for the random draws of dropout, and rounding, as they share matrix products). On
a tuned trunk a learner holds the trunk with its task, or with all tasks that are learned jointly.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from trunkline.model.frozen import FROZEN
from trunkline.model.part import Part, named_weights
from trunkline.model.source import Source
from trunkline.training.agreement import sum_gradients
from trunkline.training.balance import Balance
from trunkline.training.schedule import factor
from trunkline.training.sections import TrainingSection
from trunkline.tuners.sharding import apart, clip_gradients, divided, gradients_of, whole


@dataclass
class Progress:
    """What stopping and the plateau schedule remember; all of it is plain JSON."""

    best_score: float | None = None  # the monitored validation metric as its task reports it; their mean for several tasks
    best_rank: list[float] = field(default_factory=list)  # what the best evaluation is compared by (`Learner._rank`)
    best_step: int = 0
    since_best: int = 0  # evaluations without a better score
    since_halving: int = 0
    scale: float = 1.0  # what the plateau schedule has left of the learning rate
    stopped: bool = False
    failed: str | None = None  # why it stopped without a result, as a sentence
    rounds: int = 0  # of a search that it has survived (training/auto/halving.py)


class Learner:
    """Tasks that are learned together, by one optimiser.

    Args:
        parts: by task name; one of them unless a tuned trunk is trained for several.
        training: optimiser and stopping.
        device: where the weights live.
        source: what they read, which may be trained with them.
        balance: how the losses of several tasks become one.
    """

    def __init__(
        self,
        parts: Mapping[str, Part],
        training: TrainingSection,
        device: torch.device,
        source: Source = FROZEN,
        balance: Balance | None = None,
    ) -> None:
        assert training.learning_rate is not None, "the method's own, in a resolved config"
        self.parts, self.training, self.source, self.balance = dict(parts), training, source, balance
        self.learning_rate = training.learning_rate
        groups: list[dict[str, Any]] = []
        for part in self.parts.values():
            part.branch.to(device)
            part.criterion.to(device)
            groups += part.branch.parameter_groups(training.weight_decay)
            groups.append({"params": list(part.criterion.parameters()), "weight_decay": 0.0})
        groups += source.parameter_groups(training.weight_decay)
        if balance is not None:
            groups.append({"params": list(balance.to(device).parameters()), "weight_decay": 0.0})
        for group in groups:
            group["params"] = [p for p in group["params"] if p.requires_grad]
        groups = [group for group in groups if group["params"]]
        optimizer = torch.optim.AdamW if training.optimizer == "adamw" else torch.optim.Adam
        self.optimizer = optimizer(groups, lr=self.learning_rate, fused=True)
        self.progress = Progress()
        self.best: dict[str, Tensor] = {}  # the weights that were judged best; none before the first evaluation
        self.batches = 0  # that the gradients at hand are the sum over
        self.share = 1.0  # of the training that its schedule is made for: it is not trained longer

    def modules(self) -> list[Any]:
        """Everything that is put into training mode."""
        own = [module for part in self.parts.values() for module in (part.branch, part.criterion)]
        return [*own, self.source, *filter(None, (self.balance,))]

    def parameters(self) -> list[nn.Parameter]:
        """What the optimiser trains."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    @property
    def sharded(self) -> bool:
        """Whether some of these are divided among the processes."""
        return bool(apart(self.parameters())[1])

    def size(self) -> int:
        """Number of all weights of its modules, frozen ones included, shared ones once."""
        return sum(p.numel() for p in {id(p): p for module in self.modules() for p in module.parameters()}.values())

    def weights(self, copy: bool = True) -> dict[str, Tensor]:
        """All weights of its own on the CPU; `copy`: those that are there already are copied too."""
        return {name: whole(value.detach()).to("cpu", copy=copy) for name, value in self._named().items()}

    def load(self, weights: dict[str, Tensor]) -> None:
        """Put `weights` (as `weights()` gave them) into the modules."""
        with torch.no_grad():
            for name, value in self._named().items():
                value.copy_(divided(weights[name], value))

    def _named(self) -> dict[str, Tensor]:
        named = {
            f"{task}/{name}": value
            for task, part in self.parts.items()
            for name, value in named_weights(part.branch, part.criterion).items()
        }
        named |= {f"trunk/{name}": value for name, value in self.source.own().items() if value.requires_grad}
        if self.balance is not None:
            named |= {f"balance/{name}": value for name, value in self.balance.state_dict().items()}
        return named

    def settle(self) -> None:
        """Take the best weights and let go of all that only training needs; it cannot be trained after that."""
        self.load(self.best)
        self.best = {}
        self.optimizer.state.clear()
        self.source.gather()
        for part in self.parts.values():
            self.source.bind(part.branch)

    def train(self, mode: bool = True) -> None:
        for module in self.modules():
            module.train(mode)

    def loss(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The losses of those of its tasks that a batch has targets of, as one."""
        total = torch.stack(list(losses.values())).sum() if self.balance is None else self.balance(losses)
        return total + self.source.penalty()

    def average(self) -> None:
        """Make the gradients, a sum over batches, their mean: penalties too then count once, however many batches there are."""
        if self.batches > 1:
            for gradients in gradients_of(self.parameters()):
                torch._foreach_div_(gradients, self.batches)

    def join(self, accelerator: Accelerator) -> None:
        """Sum the gradients, and the number of batches that they come from, over all processes."""
        ours, _ = apart(self.parameters())  # those that are divided are summed on the way back
        self.batches = round(sum_gradients(accelerator, ours, self.batches))

    def clear(self) -> None:
        """Forget the gradients."""
        self.optimizer.zero_grad(set_to_none=True)
        self.batches = 0

    def step(self, progress: float) -> None:
        """One step of the optimiser on the gradients at hand; `progress` is the share of the training already done."""
        training = self.training
        done = min(progress / self.share, 1.0)
        rate = self.learning_rate * self.progress.scale * factor(training.schedule, done, training.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if training.clip_norm is not None:
            clip = clip_gradients if self.sharded else nn.utils.clip_grad_norm_
            clip(self.parameters(), training.clip_norm)
        self.optimizer.step()
        self.clear()

    @property
    def last_rate(self) -> float:
        """The learning rate of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def judge(self, metrics: Mapping[str, dict[str, Any]], step: int) -> bool:
        """Take note of an evaluation (metrics by task); return whether it is the best so far: then these weights are kept."""
        own, rank = self.progress, self._rank(metrics)
        if not own.best_rank and own.best_score is not None:  # a checkpoint from before ranks were kept
            own.best_rank = [len(self.parts), self._signs()[0] * own.best_score, -sys.float_info.max]
        if not own.best_rank or rank > own.best_rank:
            own.best_rank, own.best_score, own.best_step = rank, self._score(metrics), step
            own.since_best = own.since_halving = 0
            self.best = {}  # first, so that there is never a third copy of them
            self.best = self.weights()
            return True
        own.since_best += 1
        own.since_halving += 1
        if self.training.schedule == "plateau" and own.since_halving >= self.training.plateau_patience:
            own.scale, own.since_halving = own.scale / 2, 0
        own.stopped = self.training.patience is not None and own.since_best >= self.training.patience
        return False

    def noted(
        self, metrics: Mapping[str, dict[str, Any]], losses: Mapping[str, float], better: bool
    ) -> dict[str, dict[str, Any]]:
        """What the history has of an evaluation, by task: scores without those of single labels, and the share of each layer.

        Args:
            metrics: on validation, by task.
            losses: by task, the mean of the batches since the evaluation before.
            better: whether the scores are the best so far.
        """
        return {
            name: {
                "validation": {key: value for key, value in metrics[name].items() if not isinstance(value, dict)},
                "best": better,
                "train_loss": losses.get(name),
                "layers": {str(layer): round(weight, 6) for layer, weight in part.branch.layer_weights().items()},
            }
            for name, part in self.parts.items()
        }

    def _signs(self) -> list[int]:
        """By task, 1 or -1: more or less of its monitored metric is better."""
        return [1 if part.task.higher_is_better else -1 for part in self.parts.values()]

    def _monitored(self, metrics: Mapping[str, dict[str, Any]]) -> list[float | None]:
        """By task, the monitored metric; None where it is undefined, such as a correlation with constant targets."""
        scores = [metrics[name].get(part.task.monitor) for name, part in self.parts.items()]
        return [score if score is not None and math.isfinite(score) else None for score in scores]

    def _rank(self, metrics: Mapping[str, dict[str, Any]]) -> list[float]:
        """What an evaluation is compared by, larger is better.

        First, where depth has a price, how low the deepest layers are that the branches read: training has weighed the price
        against the loss, and the best score would otherwise often be one from before. Then how many tasks have a defined score;
        then the mean over tasks of the monitored metric, its sign such that more is better, or, where that is undefined, of the
        negative validation loss; then the negative sum of the losses, which decides between equal scores.
        """
        scores = self._monitored(metrics)
        losses = [metrics[name].get("loss", 0.0) for name in self.parts]
        values = [
            -loss if score is None else sign * score for sign, score, loss in zip(self._signs(), scores, losses, strict=True)
        ]
        branches = [part.branch for part in self.parts.values()]
        depths = [-max(branch.wanted()) for branch in branches if branch.depth_penalty]
        return [
            *([sum(depths)] if depths else []),
            sum(score is not None for score in scores),
            sum(values) / len(values),
            -sum(losses),
        ]

    def _score(self, metrics: Mapping[str, dict[str, Any]]) -> float | None:
        """The monitored metric; for several tasks the mean, its signs such that more is better; None if one is undefined."""
        scores = self._monitored(metrics)
        known = [score for score in scores if score is not None]
        if len(known) < len(scores):
            return None
        return known[0] if len(known) == 1 else sum(s * k for s, k in zip(self._signs(), known, strict=True)) / len(known)
