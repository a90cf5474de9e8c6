"""Where an axis of scores ends, so that one method far behind (a majority class) does not press all others together."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

FEW = 3  # scores that are always on the axis
LEAST = 0.05  # of the best score: a gap that is smaller never ends an axis
MARGIN = 0.06  # of the span of an axis, beyond what is drawn


def limit(scores: Sequence[float], higher_is_better: bool = True) -> float | None:
    """The score that an axis ends at on the side of the worse ones; None where none is far from the others.

    It ends below the better half of the scores, at least FEW, at the first gap that is wider than all that is above it.
    """
    sign = 1.0 if higher_is_better else -1.0
    ranked = sorted((sign * score for score in scores), reverse=True)
    for place in range(max(FEW, (len(ranked) + 1) // 2), len(ranked)):
        best, last, following = ranked[0], ranked[place - 1], ranked[place]
        if last - following > max(best - last, LEAST * abs(best)):
            return sign * last
    return None


def off(score: float, end: float | None, higher_is_better: bool = True) -> bool:
    """Whether a score is beyond the end of the axis."""
    return end is not None and (score < end if higher_is_better else score > end)


def span(values: Sequence[float], end: float | None, higher_is_better: bool = True) -> tuple[float, float]:
    """The ends of an axis of these values, of which those beyond `end` need no place."""
    kept = [value for value in values if not off(value, end, higher_is_better)]
    low, high = min(kept), max(kept)
    more = MARGIN * (high - low) or MARGIN * abs(high) or MARGIN
    beyond = 2.5 * more if end is not None else more  # where those that are off are marked
    return (low - beyond, high + more) if higher_is_better else (low - more, high + beyond)


def edge(axes: Axes, higher_is_better: bool, along: str) -> float:
    """Where marks of what is off are put: at the end of the axis `along`, "x" or "y"."""
    low, high = axes.get_xlim() if along == "x" else axes.get_ylim()
    return low if higher_is_better else high
