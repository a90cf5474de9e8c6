"""What a run costs."""

from __future__ import annotations

import sys

import pytest
import torch

from trunkline.training.cost import forget_peak, peak_memory

MANY = 150_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts the peak of resident memory anew")
def test_the_peak_of_an_earlier_run_is_forgotten(processes):
    one = processes.Process(target=needs_memory_twice)
    one.start()
    one.join(60)
    assert one.exitcode == 0


def needs_memory_twice():
    device = torch.device("cpu")
    forget_peak()
    before = peak_memory(device)
    taken = bytearray(b"x") * MANY
    assert len(taken) == MANY and peak_memory(device) > before + 0.9 * MANY
    del taken
    assert peak_memory(device) > before + 0.9 * MANY
    forget_peak()
    assert peak_memory(device) < before + 0.1 * MANY
