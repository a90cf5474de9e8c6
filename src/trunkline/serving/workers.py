"""How many threads compute on a CPU, and on how many cores each."""

from __future__ import annotations

import torch

from trunkline.trunk import Trunk

WORKERS = 2


def divide_cores(trunk: Trunk) -> int:
    """How many workers an engine should have; torch is told to use so many cores less for each.

    The threads of one operation wait for the last of them: where anything else runs on a core, such as the server's own event
    loop, all cores wait. Two workers with half of the cores each do not wait for each other (benchmarks/LOG.md). It changes
    torch's number of threads for the process, so it is for programs, not for libraries.

    Returns:
        int: WORKERS on a CPU with as many cores; 1 on another device.
    """
    if torch.device(trunk.device).type != "cpu" or torch.get_num_threads() < WORKERS:
        return 1
    torch.set_num_threads(torch.get_num_threads() // WORKERS)
    return WORKERS
