"""Everything that one task's training owns: module, criterion, optimiser, stopping and its best weights.

Learners that share texts share batches and layer states and nothing else, so training several tasks together changes
none of them (but for the random draws of dropout).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from trunkline.branches import Output, SideBranch, TrunkShape, methods
from trunkline.tasks import Criterion, Task
from trunkline.training.config import TrainingSection
from trunkline.training.schedule import factor


@dataclass
class Progress:
    """What stopping and the plateau schedule remember; all of it is plain JSON."""

    best_score: float | None = None  # the monitored validation metric, as the task reports it
    best_step: int = 0
    since_best: int = 0  # evaluations without a better score
    since_halving: int = 0
    scale: float = 1.0  # what the plateau schedule has left of the learning rate
    stopped: bool = False
    best_metrics: dict[str, Any] = field(default_factory=dict)


class Learner:
    """One task being learned by a side branch.

    Args:
        task: says what to predict.
        config: the `method:` section.
        trunk: shape of the trunk that it reads.
        training: optimiser and stopping.
        device: where the weights live.
    """

    def __init__(self, task: Task, config: Any, trunk: TrunkShape, training: TrainingSection, device: torch.device) -> None:
        self.task, self.training = task, training
        # Seeded by the task's name too, so that a task starts the same whatever other tasks there are.
        torch.manual_seed(mixed_seed(training.seed, "weights", task.name))
        self.branch: SideBranch = build_branch(config, trunk, task).to(device)
        self.criterion: Criterion = task.criterion().to(device)
        groups = self.branch.parameter_groups(training.weight_decay)
        if own := list(self.criterion.parameters()):
            groups.append({"params": own, "weight_decay": 0.0})
        optimizer = torch.optim.AdamW if training.optimizer == "adamw" else torch.optim.Adam
        self.optimizer = optimizer(groups, lr=training.learning_rate, fused=True)
        self.progress = Progress()
        self.best: dict[str, Tensor] = self.weights()

    def modules(self) -> list[nn.Module]:
        return [self.branch, self.criterion]

    def parameters(self) -> list[nn.Parameter]:
        return [p for module in self.modules() for p in module.parameters()]

    def weights(self) -> dict[str, Tensor]:
        """A copy of all weights on the CPU, named as a branch on disk names them."""
        return {name: value.detach().cpu().clone() for name, value in named_weights(self.branch, self.criterion).items()}

    def load(self, weights: dict[str, Tensor]) -> None:
        """Put `weights` (as `weights()` gave them) into the modules."""
        with torch.no_grad():
            for name, value in named_weights(self.branch, self.criterion).items():
                value.copy_(weights[name])

    def train(self, mode: bool = True) -> None:
        for module in self.modules():
            module.train(mode)

    def step(self, progress: float) -> None:
        """One step of the optimiser on the gradients at hand; `progress` is the share of the training already done."""
        training = self.training
        rate = training.learning_rate * self.progress.scale * factor(training.schedule, progress, training.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if training.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters(), training.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def judge(self, metrics: dict[str, Any], step: int) -> bool:
        """Take note of an evaluation; return whether it is the best so far (then the weights at hand are kept)."""
        own, score = self.progress, metrics.get(self.task.monitor)
        sign = 1 if self.task.higher_is_better else -1
        better = score is not None and (own.best_score is None or sign * score > sign * own.best_score)
        if better or not own.best_metrics:
            own.best_metrics, own.best_step = metrics, step
            self.best = self.weights()
        if better:
            own.best_score, own.since_best, own.since_halving = score, 0, 0
            return True
        own.since_best += 1
        own.since_halving += 1
        if self.training.schedule == "plateau" and own.since_halving >= self.training.plateau_patience:
            own.scale, own.since_halving = own.scale / 2, 0
        own.stopped = self.training.patience is not None and own.since_best >= self.training.patience
        return False


def build_branch(config: Any, trunk: TrunkShape, task: Task) -> SideBranch:
    """The module that `config` (a method's Config) describes, for a trunk of this shape and this task's outputs."""
    return methods.get(config.name)(config, trunk, Output(task.level, task.outputs))


def named_weights(branch: nn.Module, criterion: nn.Module) -> dict[str, Tensor]:
    """The weights of a branch under the names they have on disk: `branch.*` and `criterion.*`."""
    return {
        **{f"branch.{name}": value for name, value in branch.state_dict().items()},
        **{f"criterion.{name}": value for name, value in criterion.state_dict().items()},
    }


def mixed_seed(*parts: object) -> int:
    """A seed that depends on every part, the same on every machine."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:7], "little")
