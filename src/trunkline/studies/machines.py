"""Where the runs of a study were trained and its predictions were timed: times of several machines are not comparable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trunkline.studies.outcomes import Outcome


def machines(found: Sequence[Outcome], times: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """By environment (training/environment.py) the runs, as folders below the study's, and whether predictions were timed.

    Args:
        found: the methods with their runs.
        times: as `read_times` gives them.
        folder: of the study.
    """
    known: list[dict[str, Any]] = []

    def of(environment: Mapping[str, Any]) -> dict[str, Any]:
        for one in known:
            if one["environment"] == environment:
                return one
        known.append({"environment": dict(environment), "runs": [], "predictions": False})
        return known[-1]

    for one in found:
        for repeat in one.repeats:
            if environment := repeat.result.get("environment"):
                runs, run = of(environment)["runs"], str(repeat.path.relative_to(folder))
                if run not in runs:
                    runs.append(run)
    if environment := times.get("environment"):
        of(environment)["predictions"] = True
    return known
