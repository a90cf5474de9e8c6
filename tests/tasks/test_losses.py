import math

import pytest
import torch
import torch.nn.functional as F

from trunkline.tasks.losses import cross_entropy


@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 2.0, 1.0])])
def test_gamma_zero_is_cross_entropy(weights):
    torch.manual_seed(0)
    logits, targets = torch.randn(40, 3), torch.randint(3, (40,))
    expected = F.cross_entropy(logits, targets, weight=weights)
    torch.testing.assert_close(cross_entropy(logits, targets, weights=weights, gamma=0.0), expected)
    # The focal branch itself, not the shortcut: gamma so small that (1 - p)^gamma is 1.
    torch.testing.assert_close(cross_entropy(logits, targets, weights=weights, gamma=1e-9), expected)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_focal_is_its_closed_form(gamma):
    probabilities = [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]]
    targets = [0, 0, 1]
    right = [0.9, 0.4, 0.8]
    losses = [-((1 - p) ** gamma) * math.log(p) for p in right]
    logits = torch.tensor(probabilities).log()
    assert float(cross_entropy(logits, torch.tensor(targets), gamma=gamma)) == pytest.approx(sum(losses) / 3, rel=1e-5)
    weighted = (3 * losses[0] + 3 * losses[1] + losses[2]) / 7
    own = cross_entropy(logits, torch.tensor(targets), weights=torch.tensor([3.0, 1.0]), gamma=gamma)
    assert float(own) == pytest.approx(weighted, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_gradient_is_finite_where_a_row_is_certain(gamma):
    logits = torch.tensor([[200.0, 0.0], [-200.0, 0.0], [0.0, 0.0]], requires_grad=True)
    loss = cross_entropy(logits, torch.tensor([0, 0, 0]), gamma=gamma)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()


def test_half_precision_logits_are_summed_in_fp32():
    torch.manual_seed(0)
    logits, targets = torch.randn(300, 5), torch.randint(5, (300,))
    assert cross_entropy(logits.bfloat16(), targets).dtype == torch.float32
