"""Distillations of tiny trunks on made-up texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from trunkline.training.distillation.config import LossesSection, StudentSection, resolve_distillation
from trunkline.training.distillation.losses import Comparison
from trunkline.training.distillation.student import Student, make_student
from trunkline.trunk.load import Trunk

EVERY = {"mse": {}, "cosine": {}, "relation": {"layers": "all"}}
LAST = {"mse": {"layers": "last"}, "cosine": {"layers": "last"}, "relation": {}}


def values(trunk: Path, train: Path, **training: Any) -> dict[str, Any]:
    """A config, as a mapping, in which nothing depends on the machine."""
    return {
        "trunk": {"name": str(trunk), "dtype": "fp32", "device": "cpu"},
        "student": {"layers": 2},
        "data": {"train": str(train), "validation": "20%"},
        "losses": {"mse": {}, "cosine": {"layers": "last"}},
        "training": {"epochs": 3, "batch_tokens": 256, "precision": "fp32", "states_dtype": "fp32", **training},
    }


def compared(trunk: Trunk, losses: dict[str, Any], **student: Any) -> tuple[Student, Comparison]:
    """A student of a trunk, and its losses."""
    made = make_student(trunk, StudentSection(**student), seed=0)
    return made, Comparison(LossesSection(**losses), made, trunk)


def losses_of(trunk: Trunk, comparison: Comparison, texts: list[str]) -> dict[str, float]:
    """The losses on one batch of texts, without weights."""
    import torch

    from trunkline.inputs.batching import Layout
    from trunkline.states.live import LiveStates

    encoded = trunk.encode(texts)
    sequences, theirs = np.arange(len(texts)), {}
    LiveStates(trunk, encoded).feed(sequences, comparison.teacher_layers, theirs.__setitem__)
    with torch.no_grad():
        own = comparison.student.states(trunk, encoded, sequences, comparison.student_layers, "fp32")
        found = comparison.losses(own, theirs, Layout(torch.from_numpy(encoded.lengths.astype(np.int64))))
    return {name: float(loss) for name, loss in found.items()}


def resolved(given: dict[str, Any]) -> Any:
    return resolve_distillation(given)
