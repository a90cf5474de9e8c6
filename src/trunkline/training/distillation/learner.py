"""The student in training: its optimiser, and what a checkpoint keeps of it."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from trunkline.training.agreement import sum_gradients
from trunkline.training.distillation.config import DistillationTraining
from trunkline.training.distillation.student import Student
from trunkline.training.learner import Progress
from trunkline.training.schedule import factor


class StudentLearner:
    """A student with AdamW: matrices decay; biases and norms do not. It is what `save_checkpoint` asks for.

    The student is in evaluation mode throughout: it is to compute a function that has no noise in it, so it drops nothing, and
    the losses of training and validation are the same measure. (The published recipes leave dropout on.)
    """

    def __init__(self, student: Student, training: DistillationTraining) -> None:
        self.student, self.training = student, training
        trained = [p for p in student.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim >= 2], "weight_decay": training.weight_decay},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(
            [group for group in groups if group["params"]], lr=training.learning_rate, fused=True
        )
        self.progress, self.best = Progress(), dict[str, Tensor]()  # of the checkpoint's format; nothing is chosen here

    def parameters(self) -> list[nn.Parameter]:
        """What is trained, in the optimiser's order."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def weights(self, copy: bool = True) -> dict[str, Tensor]:
        """The student's weights and its projection's, on the CPU."""
        return {name: p.detach().to("cpu", copy=copy) for name, p in self.student.named_parameters()}

    def load(self, weights: dict[str, Tensor]) -> None:
        """Put `weights`, as `weights()` gave them, into the student."""
        with torch.no_grad():
            for name, p in self.student.named_parameters():
                p.copy_(weights[name])

    def join(self, accelerator: Accelerator, batches: int) -> None:
        """Make the gradients of all processes, of `batches` batches together, their mean in each of them."""
        if accelerator.num_processes == 1:
            return
        sum_gradients(accelerator, parameters := self.parameters(), 0)
        torch._foreach_div_([p.grad for p in parameters if p.grad is not None], batches)

    def step(self, progress: float) -> None:
        """One step of the optimiser on the gradients at hand; `progress` is the share of the training already done."""
        rate = self.training.learning_rate * factor(self.training.schedule, progress, self.training.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if self.training.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters(), self.training.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    @property
    def last_rate(self) -> float:
        """The learning rate of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])
