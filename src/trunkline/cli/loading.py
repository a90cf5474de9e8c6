"""Loading what a prediction needs, and no more: a command that predicts spends most of its time on imports.

The base class of transformers' models imports scipy, where it is installed, for losses that no prediction uses. So it is
reported as not installed while that class is imported. Only a process of the command line does this: nothing of it reaches a
program that uses Trunkline as a library, and nothing is changed where the class is loaded already.
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Within it libraries, a trunk and branches are loaded, without what predicting needs none of.

    Garbage is not collected meanwhile, and what was loaded is left out of later collections: it all stays.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        if "transformers.modeling_utils" not in sys.modules:
            _import_models()
        yield
    finally:
        if collects:
            gc.freeze()
            gc.enable()


def _import_models() -> None:
    """Import the base class of transformers' models without scipy."""
    import transformers.utils as utils
    from transformers.utils import import_utils

    kept = [(module, module.is_scipy_available) for module in (utils, import_utils)]
    try:
        for module, _ in kept:
            module.is_scipy_available = lambda: False
        importlib.import_module("transformers.modeling_utils")
    finally:
        for module, function in kept:
            module.is_scipy_available = function
