"""Frozen trunks that were loaded lately, kept for the next who reads the same files: loading takes longer than many a fit."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from pathlib import Path

import torch

from trunkline.trunk.architectures import StackName
from trunkline.trunk.load import Trunk, load_trunk
from trunkline.trunk.machine import pick_device, pick_dtype
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
) -> Trunk:
    """Return what `load_trunk` returns, which takes the same arguments; the same one again while its files have not changed.

    For those who only run it: a trunk that is to be changed, or whose weights are set aside, is loaded by its owner.
    """
    place = pick_device(device)
    precision = pick_dtype(dtype, place)
    source = find_source(name, revision)
    files = sorted(file for file in source.folder.iterdir() if file.is_file())
    stamps = tuple((file.name, (stat := file.stat()).st_mtime_ns, stat.st_size) for file in files)
    key = (source.name, source.revision, str(source.folder), stack, precision, str(place), stamps)
    with _turn:
        if key not in _kept:
            _kept[key] = load_trunk(name, revision=revision, stack=stack, dtype=precision, device=place)
            while len(_kept) > KEPT:
                _kept.popitem(last=False)
        _kept.move_to_end(key)
        return _kept[key]


def forget() -> None:
    """Let go of the trunks that are kept."""
    with _turn:
        _kept.clear()
