import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from trunkline.states.quantise import dequantise, quantise

ROWS = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, max_side=9),
    elements=st.floats(-(2.0**100), 2.0**100, width=32) | st.floats(-2, 2, width=32) | st.just(0.0),
)


@settings(max_examples=50, deadline=None)
@given(ROWS)
def test_no_number_is_off_by_more_than_half_a_scale(rows):
    numbers, scales = quantise(torch.from_numpy(rows))
    assert numbers.dtype == torch.int8 and scales.dtype == torch.float32
    found = numbers.numpy().astype(np.float64) * scales.numpy().astype(np.float64)[:, None]
    assert (np.abs(found - rows) <= scales.numpy()[:, None] * 0.5001).all()
    largest = np.abs(rows.astype(np.float64)).max(axis=1)
    assert (scales.numpy() <= np.maximum(largest / 127, 2e-38) * 1.0001).all()


@settings(max_examples=50, deadline=None)
@given(ROWS)
def test_the_same_numbers_as_one_at_a_time(rows):
    numbers, scales = quantise(torch.from_numpy(rows))
    for row, found, scale in zip(rows, numbers.tolist(), scales.tolist(), strict=True):
        expected = max(np.float32(max(abs(x) for x in row)) / np.float32(127), np.finfo(np.float32).tiny)
        assert scale == expected
        assert found == [int(np.clip(np.rint(x / expected), -127, 127)) for x in row]


def test_dequantised_once_rounded():
    numbers, scales = quantise(torch.randn(50, 32, generator=torch.Generator().manual_seed(0)))
    exact = numbers.double() * scales.double()[:, None]
    assert torch.equal(dequantise(numbers, scales, torch.float32), exact.float())
    assert torch.equal(dequantise(numbers, scales), exact.float().bfloat16())


def test_zeros_stay_zero_and_what_is_not_finite_shows_in_the_scale():
    numbers, scales = quantise(torch.tensor([[0.0, 0.0], [1.0, float("inf")], [float("nan"), 1.0]]))
    assert numbers[0].tolist() == [0, 0]
    assert torch.isfinite(scales).tolist() == [True, False, False]
