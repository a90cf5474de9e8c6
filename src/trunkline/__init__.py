"""Trunkline: train, compare and serve many text tasks on one Hugging Face transformer.

Importing this package loads nothing heavy. Each public name is imported the first time it is used (PEP 562),
so that the command line can answer, and complete, without waiting for torch.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names for type checkers and editors; tests/test_project.py holds the two lists together
    from trunkline.errors import BadInput as BadInput
    from trunkline.errors import TrunklineError as TrunklineError
    from trunkline.model.attached import attach as attach
    from trunkline.model.branch import load_branch as load_branch
    from trunkline.model.bundle import Bundle as Bundle
    from trunkline.studies.compare import compare as compare
    from trunkline.training.distillation.distilling import distill as distill
    from trunkline.training.fit import fit as fit
    from trunkline.training.label_errors import find_label_errors as find_label_errors
    from trunkline.trunk.load import load_trunk as load_trunk
    from trunkline.trunk.stream import read_layers as read_layers

__version__ = "0.1.0"

# torch's threads wait for each other by spinning, for milliseconds unless told otherwise before torch is loaded. A side branch
# is many small operations: on two cores that another program uses too, that made a training step ten times as slow. Spinning
# this briefly is as fast on a quiet machine; not spinning at all costs half as much again there.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

# public name -> the module that defines it
_PUBLIC = {
    "BadInput": "trunkline.errors",
    "Bundle": "trunkline.model.bundle",
    "TrunklineError": "trunkline.errors",
    "attach": "trunkline.model.attached",
    "compare": "trunkline.studies.compare",
    "distill": "trunkline.training.distillation.distilling",
    "find_label_errors": "trunkline.training.label_errors",
    "fit": "trunkline.training.fit",
    "load_branch": "trunkline.model.branch",
    "load_trunk": "trunkline.trunk.load",
    "read_layers": "trunkline.trunk.stream",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    thing = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = thing  # the next look-up does not come here
    return thing


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
