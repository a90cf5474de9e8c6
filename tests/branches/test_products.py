import pytest
import torch
import torch.nn.functional as F

from trunkline.branches.products import GRAIN, linear


@pytest.mark.parametrize("rows", [0, 1, GRAIN - 1, GRAIN, GRAIN + 1, 3 * GRAIN + 7])
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_rounded_rows_change_nothing_but_rounding(rows, autocast, bias):
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn(rows, 24, generator=generator, requires_grad=True)
    weight = torch.randn(5, 24, generator=generator, requires_grad=True)
    b = torch.randn(5, generator=generator, requires_grad=True) if bias else None
    leaves = [x, weight, *([b] if bias else [])]
    grad = torch.randn(rows, 5, generator=generator)
    expected = F.linear(x, weight, b)
    wanted = torch.autograd.grad((expected * grad).sum(), leaves)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = linear(x, weight, b)
    assert found.dtype == (torch.bfloat16 if autocast else torch.float32) and found.shape == expected.shape
    tolerance = {"rtol": 0.03, "atol": 0.15} if autocast else {}
    torch.testing.assert_close(found.float(), expected, **tolerance)
    for one, other in zip(torch.autograd.grad((found.float() * grad).sum(), leaves), wanted, strict=True):
        torch.testing.assert_close(one, other, **({"rtol": 0.05, "atol": 0.3} if autocast else {}))


def test_leading_dimensions_are_kept():
    x, weight = torch.randn(3, 7, 24).bfloat16(), torch.randn(5, 24).bfloat16()
    torch.testing.assert_close(linear(x, weight), F.linear(x, weight))
