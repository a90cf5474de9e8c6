"""Frozen trunks that were loaded lately, kept for the next who reads the same files: loading takes longer than many a fit."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from pathlib import Path

import torch

from trunkline.trunk.architectures import StackName
from trunkline.trunk.backends import Ranges
from trunkline.trunk.compiled import ranges_digest
from trunkline.trunk.load import Trunk, load_trunk, pick_place
from trunkline.trunk.source import find_source

KEPT = 2  # the trunk of the last user, and the same one in another precision
_kept: OrderedDict[Hashable, Trunk] = OrderedDict()
_turn = threading.Lock()


def shared_trunk(
    name: str | Path,
    *,
    revision: str | None = None,
    stack: StackName = "encoder",
    dtype: str = "auto",
    device: str | torch.device = "auto",
    backend: str = "torch",
    ranges: Ranges | None = None,
) -> Trunk:
    """Return what `load_trunk` returns, which takes the same arguments; the same one again while its files have not changed.

    For those who only run it: a trunk that is to be changed, or whose weights are set aside, is loaded by its owner.
    """
    place, precision = pick_place(dtype, device, backend)
    if precision == "int8" and ranges is None:  # it is to be calibrated by its owner
        return load_trunk(name, revision=revision, stack=stack, dtype=precision, device=place, backend=backend)
    source = find_source(name, revision)
    files = sorted(file for file in source.folder.iterdir() if file.is_file())
    stamps = tuple((file.name, (stat := file.stat()).st_mtime_ns, stat.st_size) for file in files)
    computed = precision, str(place), backend, ranges_digest(ranges)
    key = (source.name, source.revision, str(source.folder), stack, computed, stamps)
    with _turn:
        if key not in _kept:
            _kept[key] = load_trunk(
                name, revision=revision, stack=stack, dtype=precision, device=place, backend=backend, ranges=ranges
            )
            while len(_kept) > KEPT:
                _kept.popitem(last=False)
        _kept.move_to_end(key)
        return _kept[key]


def forget() -> None:
    """Let go of the trunks that are kept."""
    with _turn:
        _kept.clear()
