"""The cores of a CPU are divided among workers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from trunkline.serving.workers import divide_cores


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("cores", "device", "compiled", "workers", "each"),
    [
        (2, "cpu", None, 2, 1),
        (7, "cpu", None, 2, 3),
        (1, "cpu", None, 1, 1),
        (4, "cpu", object(), 2, 2),
        (4, "cuda:0", None, 1, 4),
    ],
)
def test_each_worker_has_its_share(threads, cores, device, compiled, workers, each):
    threads(cores)
    assert divide_cores(SimpleNamespace(device=device, compiled=compiled)) == workers
    assert torch.get_num_threads() == each
