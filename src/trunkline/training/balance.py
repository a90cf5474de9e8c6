"""How the losses of jointly learned tasks become one: a linear combination, or weights that are learned.

`uncertainty`: Kendall, Gal and Cipolla 2018, "Multi-task learning using uncertainty to weigh losses", equation 7 with
s_i = log sigma_i^2, each task a scaled softmax: sum_i exp(-s_i) loss_i + s_i / 2.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Balance(nn.Module):
    """Weighs losses.

    Args:
        weights: by task, of the linear combination; or "uncertainty".
        tasks: their names, in order.
    """

    def __init__(self, weights: Mapping[str, float] | str, tasks: list[str]) -> None:
        super().__init__()
        self.tasks = tasks
        self.fixed = None if isinstance(weights, str) else {name: weights.get(name, 1.0) for name in tasks}
        if self.fixed is None:
            self.log_variances = nn.Parameter(torch.zeros(len(tasks)))

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum over the tasks that have a loss."""
        if self.fixed is not None:
            return torch.stack([self.fixed[name] * loss for name, loss in losses.items()]).sum()
        s = self.log_variances[[self.tasks.index(name) for name in losses]]
        return (torch.exp(-s) * torch.stack(list(losses.values())) + s / 2).sum()
