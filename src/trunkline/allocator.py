"""Keeping freed memory for the next tensor, which the C library gives back to the system otherwise.

A training step makes and frees tensors of some megabytes by the dozen. By default glibc maps and unmaps each of them or
trims its heap again and again, and the system hands out zeroed pages anew each time: 400,000 page faults in an epoch of 23
steps over 13 layers of width 768, a quarter of its time (1.66 s against 1.22 s; benchmarks/LOG.md).
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # malloc.h
KERNELS = 128  # of one batch, forward and backward, and some more
KEPT = 1 << 28  # bytes: larger tensors are still mapped, and given back when freed


def keep_freed_memory() -> None:
    """Tell glibc to keep what is freed; does nothing with another C library, or where the environment says otherwise."""
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    if mallopt := _from_glibc("mallopt"):
        mallopt(M_MMAP_THRESHOLD, KEPT)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def share_one_arena() -> None:
    """Let all threads that are started from now on take memory from one place; does nothing with another C library.

    glibc gives each thread a place of its own and leaves there what is freed. A server whose threads hand tensors on then holds
    hundreds of megabytes that nobody uses (benchmarks/LOG.md).
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    if mallopt := _from_glibc("mallopt"):
        mallopt(M_ARENA_MAX, 1)


def keep_few_kernels() -> None:
    """Let oneDNN keep KERNELS of the kernels that it makes for each shape of a product, rather than 1,024; before its first.

    Batches of varying lengths have other shapes nearly every time: what is kept is hardly used again. A fit by LoRA in bf16
    took 1,080 MB with 128 and 1,232 with 1,024, in the same time (benchmarks/LOG.md). The environment may say otherwise.
    """
    if not any(f"{prefix}_PRIMITIVE_CACHE_CAPACITY" in os.environ for prefix in ("ONEDNN", "DNNL")):
        os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] = str(KERNELS)


def give_back_freed_memory() -> None:
    """Give what is kept back to the system: training is over, and what follows needs memory of another kind."""
    if trim := _from_glibc("malloc_trim"):
        trim(0)


def _from_glibc(name: str) -> Any:
    """A function of the C library, None if it has none of that name."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
