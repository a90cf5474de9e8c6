"""Hidden-state variability (Xie et al. 2022, "Hidden State Variability of Pretrained Language Models Can Guide Computation
Reduction for Transfer Learning", arXiv 2210.10041, section 3.1): how far a layer separates the classes of a task.

    W  = 1/|Y| sum_y 1/|G_y| sum_{h in G_y} (h - m_y)(h - m_y)^T        G_y: the states of class y, m_y their mean
    B  = 1/|Y| sum_y (m_y - m)(m_y - m)^T                               m: the mean of the m_y
    nu = trace(W B^+) / |Y|

The lower, the more do the states of a layer vary between classes and the less within. As B has rank |Y| - 1 at most, nu is
computed from the singular vectors of the means, in float64: with (m_y - m) = U S V^T, nu is the mean over classes and their
states of |(h - m_y) V / S|^2.

As in the published code (github.com/shuox20/variability-efficient-tuning), eigenvalues of B below K eps times the largest
count as 0, with the eps of float32, in which that computes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trunkline.branches.examples import Examples
from trunkline.errors import BadInput

INSEPARABLE = 1e30  # nu of a layer that has the same mean for all classes; finite, so that it can be saved


def nu_of_classes(classes: Sequence[Tensor]) -> float:
    """nu of the states (M_y, K) of each of at least two classes, of at least one state each."""
    means = torch.stack([states.double().mean(0) for states in classes])
    _, scale, directions = torch.linalg.svd(means - means.mean(0), full_matrices=False)
    rounding = means.shape[1] * torch.finfo(torch.float32).eps
    kept = (scale.square() > rounding * scale[0].square()) & (scale > 0)
    if not kept.any():
        return INSEPARABLE
    onto = directions[kept].T / scale[kept]  # (K, rank)
    within = [((states.double() - mean) @ onto).square().sum(1).mean() for states, mean in zip(classes, means, strict=True)]
    return min(float(torch.stack(within).mean()), INSEPARABLE)


def nu_of(states: Tensor, targets: Tensor) -> float:
    """nu of states (M, K) whose classes are `targets`: numbers (M,), or bool (M, L), of which it is the mean over labels of the
    nu of the two classes with and without it.

    Raises:
        BadInput: there are fewer than two classes among them.
    """
    if targets.ndim == 1:
        found = targets.unique()
        if len(found) < 2:
            raise _too_few()
        return nu_of_classes([states[targets == label] for label in found])
    told_apart = [column for column in targets.bool().T if column.any() and not column.all()]
    if not told_apart:
        raise _too_few()
    return sum(nu_of_classes([states[~column], states[column]]) for column in told_apart) / len(told_apart)


def nu_by_layer(examples: Examples, layers: Sequence[int]) -> Tensor:
    """nu of each of `layers`, (l,) float32."""
    return torch.tensor([nu_of(examples.states[layer], examples.targets) for layer in layers])


def refuse_numbers(numbers: bool, key: str) -> None:
    """Raise BadInput for a task whose outputs are numbers."""
    if numbers:
        raise BadInput(
            found="variability", expected="another one, as it compares classes, and a regression has numbers", key=key
        )


def _too_few() -> BadInput:
    return BadInput(
        "the training rows have one class only, expected two or more, as variability compares classes", key="method"
    )
