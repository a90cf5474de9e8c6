"""How a report writes numbers: scores, intervals, p-values, and the costs of a method, each in its unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trunkline.studies.report.results import Costs, Interval

NONE = "\u2013"


def score(value: float | None) -> str:
    """A metric: four decimals, or four digits where it is large."""
    if value is None:
        return NONE
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:.4g}"


def points(value: float | None) -> str:
    """A difference, with its sign."""
    return NONE if value is None else f"{value:+.2f}".replace("-", "\u2212")


def between(interval: Interval, shown: Callable[[float | None], str] = score) -> str:
    """An interval; empty where there is none."""
    low, high = interval or (None, None)
    return "" if low is None or high is None else f"{shown(low)} to {shown(high)}"


def probability(p: float | None) -> str:
    """A p-value."""
    if p is None:
        return NONE
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def count(value: float | None) -> str:
    """A whole number."""
    return NONE if value is None else f"{value:,.0f}"


def decimals(value: float | None) -> str:
    """A number of about three digits."""
    if value is None:
        return NONE
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def seconds(value: float | None) -> str:
    return NONE if value is None else f"{decimals(value)} s"


def size(value: float | None) -> str:
    """Bytes, in units of 1024."""
    if value is None:
        return NONE
    for unit, of in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if value >= of:
            return f"{decimals(value / of)} {unit}"
    return f"{value:.0f} B"


def percent(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.0f} %"


@dataclass(frozen=True)
class Cost:
    """A column of the table of costs: its key in results.json, its heading, what it is called in a sentence, its unit."""

    key: str
    heading: str
    name: str
    shown: Callable[[float | None], str]

    def of(self, costs: Costs) -> int | float | None:
        value: int | float | None = getattr(costs, self.key)
        return value


COSTS = (
    Cost("trained_parameters", "trained parameters", "trained parameters", count),
    Cost("added_parameters", "added parameters", "added parameters", count),
    Cost("seconds", "training", "training time", seconds),
    Cost("epoch_seconds", "time per epoch", "time per epoch", seconds),
    Cost("steps_to_best", "steps to best", "steps to the best weights", count),
    Cost("steps_per_second", "steps per second", "steps per second", decimals),
    Cost("peak_memory_bytes", "peak memory", "peak memory", size),
    Cost("bytes_per_task", "bytes per task", "bytes on disk per task", size),
    Cost("pass_share", "share of the pass", "share of the trunk's blocks in a pass", percent),
    Cost("predict_seconds", "time for 1,000 texts", "time to predict 1,000 texts", seconds),
    Cost("stacked", "runs at once", "runs trained at once", count),
)
BY_KEY = {cost.key: cost for cost in COSTS}
