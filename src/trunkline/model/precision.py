"""Branches that answer from another precision of their trunk than that on which they were trained, and the check before it.

Quantised or rounded states are other numbers, on which a branch may answer worse. So a change is refused unless it is
allowed; then branches answer sample texts from both, and how far they agree is reported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trunkline.data.empty import is_blank
from trunkline.data.sources import read_table
from trunkline.errors import BadInput, unknown_name
from trunkline.model.arguments import Asked
from trunkline.model.branch import Branch
from trunkline.model.plan import Plan
from trunkline.model.portions import Answered, answered, portion
from trunkline.trunk.backends import backends
from trunkline.trunk.load import Trunk
from trunkline.trunk.machine import DTYPES

SAMPLE = 300  # texts of a check, and of a calibration
ENOUGH = 50  # texts that were given; fewer say too little
EMBEDDED = "snips"  # the data set whose texts are read otherwise


@dataclass(frozen=True)
class Computing:
    """What is asked for.

    Attributes:
        backend: what computes the trunk; None as in training.
        dtype: the precision of the trunk; None as in training.
        allowed: whether that may be another than in training, or the texts to check it on.
    """

    backend: str | None = None
    dtype: str | None = None
    allowed: bool | Sequence[str] = False

    @property
    def permitted(self) -> bool:
        return not isinstance(self.allowed, bool) or self.allowed

    @property
    def compiler(self) -> str | None:
        """The backend that compiles a trunk; None where torch computes it."""
        return None if self.backend == "torch" else self.backend or ("openvino" if self.dtype == "int8" else None)

    def check(self) -> None:
        """Raise BadInput for an unknown backend, and for a precision that is unknown or that the backend does not have."""
        if self.backend is not None:
            precisions(self.backend)
        if self.dtype is None:
            return
        known = [*DTYPES, "int8"]
        if self.dtype not in known:
            raise unknown_name("", self.dtype, known, key="dtype")
        has = precisions(self.compiler or "torch")
        if self.dtype not in has:
            raise BadInput(f"{self.dtype!r}: backend {self.compiler or 'torch'} has {', '.join(has)}", key="dtype")

    def dtype_for(self, trained: str) -> str:
        """The precision for a branch that was trained in `trained`."""
        if self.dtype is not None:
            return self.dtype
        if self.backend and self.permitted and trained not in precisions(self.backend):
            return "fp32"
        return trained

    def refusal(self, branch: Branch, trained: str) -> BadInput:
        """The error of a change that was not allowed."""
        asked = self.dtype_for(trained)
        return BadInput(
            f"{branch.path or branch.task.name} was trained on states in {trained}, and {asked} was requested; "
            "--allow-precision-change (allow_precision_change=True) answers from that after a check on sample texts"
        )


def precisions(backend: str) -> Sequence[str]:
    """Those that a backend has. BadInput for an unknown one."""
    return tuple(DTYPES) if backend == "torch" else backends.get(backend, key="backend").precisions


@dataclass(frozen=True)
class Sample:
    """Texts to check on and to calibrate with; `source` says in messages what they are."""

    texts: list[str]
    source: str

    @classmethod
    def of(cls, given: bool | Sequence[str]) -> Sample:
        """The first of the given texts, or where these are few, some of the embedded data."""
        texts = [] if isinstance(given, bool) else [text for text in given if isinstance(text, str) and not is_blank(text)]
        if len(texts) >= ENOUGH:
            return cls(texts[:SAMPLE], f"{min(len(texts), SAMPLE)} of the given texts")
        rows = read_table(EMBEDDED).columns["text"]
        drawn = np.random.default_rng(0).permutation(len(rows))[:SAMPLE]
        return cls([rows[row] for row in sorted(drawn.tolist())], f"{len(drawn)} texts of the embedded data set {EMBEDDED}")

    def calibrate(self, trunk: Trunk, max_length: int) -> None:
        """Calibrate an int8 trunk, one text at a time so that no padding is measured."""
        assert trunk.compiled is not None
        encoded = trunk.encode(self.texts, max_length=min(max_length, trunk.longest_input or max_length))
        trunk.compiled.calibrate(trunk.collate(encoded, [sequence]) for sequence in range(len(encoded.lengths)))


def described(trunk: Trunk) -> str:
    """A trunk's precision and backend, in words."""
    return f"{trunk.dtype} ({trunk.backend})"


def agreements(before: Plan, after: Plan, sample: Sample) -> dict[str, str]:
    """By name of a branch, a sentence on how far its answers from two plans agree."""
    texts, pairs = sample.texts, any(one.pairs for one in before.passes)
    nothing: Mapping[bool, frozenset[int]] = {False: frozenset(), True: frozenset()}
    asked = Asked(texts, [*texts[1:], texts[0]] if pairs else None, None, False, nothing)
    whole = portion(before, asked, range(len(texts)), "sample")
    first, second = answered(before, whole), answered(after, whole)
    return {name: f"on {sample.source}, {_agreement(first[name], second[name])}" for name in before.branches}


def _agreement(one: Answered, other: Answered) -> str:
    branch = one.branch
    values, others = (branch.decode(each.logits, each.offsets).values for each in (one, other))
    if branch.task.named_labels is None:
        return f"predictions differ by at most {float(np.abs(values - others).max()):.4g}"
    equal = values == others
    equal = equal if equal.ndim == 1 else equal.all(axis=1)
    what = "tags" if branch.task.answers.units else "predictions"
    said = f"{int(equal.sum()):,} of {len(equal):,} {what} are the same ({100 * float(equal.mean()):.1f} %)"
    shares = [branch.probabilities(each.logits, each.offsets) for each in (one, other)]
    if shares[0] is not None and shares[1] is not None:
        said += f", and no score differs by more than {float(np.abs(shares[0] - shares[1]).max()):.3f}"
    return said
