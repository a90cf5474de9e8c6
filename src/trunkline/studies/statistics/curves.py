"""Learning curves: how good a method is by the number of rows that it is trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trunkline.studies.statistics.answers import Answers
from trunkline.studies.statistics.bootstrap import LEVEL, Estimate, estimate
from trunkline.studies.statistics.resampling import RESAMPLES, resample


@dataclass(frozen=True)
class CurvePoint:
    """A method trained on `size` rows."""

    size: int
    estimate: Estimate


def learning_curve(
    sizes: Mapping[int, Sequence[Answers]], *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> list[CurvePoint]:
    """Return the points of a method's learning curve, by rising size, all on the same drawn test rows.

    Args:
        sizes: by number of training rows, the answers of its runs to the same test rows. Runs of different seeds were trained
            on rows that their seed drew: then the interval covers the choice of these rows, too.
        level, resamples, seed: as of `estimate` and `resample`.

    Raises:
        BadInput: runs of different test rows, or a size without a run.
    """
    found = resample({f"{size} rows": sizes[size] for size in sorted(sizes)}, resamples=resamples, seed=seed)
    return [CurvePoint(size, estimate(one, level=level)) for size, one in zip(sorted(sizes), found.values(), strict=True)]
