"""A tuned branch on a compiled trunk: what was learned is merged into plain weights, and these are compiled."""

from __future__ import annotations

import torch

from trunkline.trunk.backends import Ranges
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
