"""A tuned branch on a compiled trunk: what was learned is merged into plain weights, and these are compiled."""

from __future__ import annotations

from collections.abc import Callable

import torch

from trunkline.errors import TrunklineError
from trunkline.model.branch import Branch
from trunkline.trunk.backends import Ranges, backends, find_backend
from trunkline.trunk.compiled import CompiledTrunk
from trunkline.trunk.load import Trunk
from trunkline.trunk.source import Source
from trunkline.tuners.tuned import TunedTrunk


def compiled_copy(tuned: TunedTrunk, backend: str, dtype: str, ranges: Ranges | None = None) -> Trunk:
    """Return a trunk of its own with the merged weights of `tuned`, computed by a backend; frozen, as any trunk is.

    Args:
        tuned: with what was learned; it stays as it is.
        backend: a name in `backends`.
        dtype: fp32, bf16 or int8.
        ranges: for int8, those of a calibration; None: `Trunk.compiled` is to be calibrated.

    Raises:
        BadInput: the method cannot be merged, or the backend is unknown, not installed, or without this precision.
    """
    from trunkline.tuners.merged import merged_model  # peft takes most of a second, and most predictions need none of it

    trunk = tuned.trunk
    place = Source(trunk.name, trunk.revision, trunk.folder)
    made = Trunk(
        place,
        trunk.row,
        trunk.stack,
        merged_model(tuned),
        trunk.tokenizer,
        stored=torch.float32,
        dtype="fp32",
        device=torch.device("cpu"),
        again=lambda: merged_model(tuned),
    )
    made.dtype, made.compiled = dtype, CompiledTrunk(made, backend, dtype, ranges)
    return made


def compiled_source(
    branch: Branch, backend: str, dtype: str, calibrate: Callable[[Trunk, int], None] | None = None
) -> Trunk | str:
    """Return the merged trunk of a branch that changes its trunk, compiled and run once; or a sentence on why there is none.

    Args:
        branch: with a `TunedTrunk` as its source.
        backend: a name in `backends`.
        dtype: fp32, bf16 or int8.
        calibrate: calibrates an int8 trunk, for a branch of that maximum length.

    Raises:
        BadInput: the backend is unknown or not installed.
    """
    assert isinstance(branch.source, TunedTrunk)
    has = backends.get(backend, key="backend").precisions
    find_backend(backend, has[0])  # whatever is wrong with the backend itself is an error
    if dtype not in has:
        return f"it was trained in {dtype}, which backend {backend} does not have"
    try:
        trunk = compiled_copy(branch.source, backend, dtype)
        assert trunk.compiled is not None
        if trunk.compiled.calibrates and calibrate is not None:
            calibrate(trunk, branch.max_length)
        inputs = trunk.collate(trunk.encode(["a"]), [0])
        trunk.compiled.run(inputs, branch.module.wanted(), lambda layer, state: None)
    except TrunklineError as error:
        return str(error)
    return trunk
