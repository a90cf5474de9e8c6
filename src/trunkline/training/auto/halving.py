"""Successive halving (Jamieson and Talwalkar 2016, arXiv 1502.07943; Li et al. 2018, Hyperband, arXiv 1603.06560, section 2).

    a quarter of the budget is divided among n candidates; the best half, n / 2 rounded up, goes on; so four times

Where one is left sooner, there are fewer rounds and their parts of the budget are larger. Candidates continue where the round
before has left them. Those of a track advance by the same batches, so that they are compared after the same steps. How many
steps a round has is known before the first: as many as its part pays for, even if the most expensive candidates are the ones
that are left.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from trunkline.training.learner import Learner

ROUNDS = 4


@dataclass(frozen=True)
class Round:
    """Ends after `last` steps of the training, when `kept` candidates are left."""

    last: int
    kept: int


@dataclass(frozen=True)
class Track:
    """Candidates of one task that are compared with each other.

    Attributes:
        task: its name.
        kind: "linear" or "deep".
        names: what the task is called in the loop for each, in the order of the family.
        rounds: in order; none where there is no candidate.
    """

    task: str
    kind: str
    names: tuple[str, ...]
    rounds: tuple[Round, ...]


def count_rounds(count: int) -> int:
    """How many rounds so many candidates have."""
    return min(ROUNDS, max(1, math.ceil(math.log2(count))))


def plan_rounds(steps: Sequence[float], looks: Sequence[float], budget: float, most: int) -> tuple[Round, ...]:
    """The rounds of a track: one, in which all are trained to the end, where the budget pays for that.

    Args:
        steps: what a step costs each candidate, its share in evaluations that are made anyway included.
        looks: what the evaluation at the end of a round costs each.
        budget: of all rounds.
        most: steps in all, where the training ends: a round that reaches it is the last.
    """
    count, last = len(steps), 0
    if to_the_end(steps, looks, most) <= budget:
        return (Round(most, 1),)
    rounds = count_rounds(count)
    found: list[Round] = []
    while len(found) < rounds and last < most:
        step, look = (sum(sorted(costs, reverse=True)[:count]) for costs in (steps, looks))
        last = min(last + max(1, math.floor((budget / rounds - look) / step)), most)
        count = math.ceil(count / 2)
        found.append(Round(last, count))
    return (*found[:-1], Round(last, 1))


def to_the_end(steps: Sequence[float], looks: Sequence[float], most: int) -> float:
    """What training all candidates to the end costs; the arguments are those of `plan_rounds`."""
    return sum(steps) * most + sum(looks)


class Halving:
    """Stops candidates at the end of each round. What it has decided is in `Progress.rounds` of their learners.

    Args:
        tracks: no candidate is in two.
        told: called with a track, the number of the round that has ended (from 1), and the names of those left, the best first.
    """

    def __init__(self, tracks: Sequence[Track], told: Callable[[Track, int, list[str]], None]) -> None:
        self.tracks, self._told = tracks, told

    def due(self, step: int, learners: Mapping[str, Learner], epoch_ends: bool) -> list[str]:
        """The tasks that are to be judged after this step: those whose round ends, and linear ones after each epoch."""
        asked = [
            track
            for track in self.tracks
            if any(one.last == step for one in track.rounds) or (epoch_ends and track.kind == "linear")
        ]
        return [name for track in asked for name in track.names if not learners[name].progress.stopped]

    def cut(self, step: int, learners: Mapping[str, Learner]) -> None:
        """End the rounds that end with this step: the best half has survived one more, and the others stop."""
        for track in self.tracks:
            for number, one in enumerate(track.rounds):
                if one.last == step:
                    left = ranked([name for name in track.names if learners[name].progress.rounds == number], learners)
                    for place, name in enumerate(left):
                        learners[name].progress.rounds += place < one.kept
                        learners[name].progress.stopped |= place >= one.kept or number + 1 == len(track.rounds)
                    self._told(track, number + 1, left[: one.kept])


def ranked(names: Sequence[str], learners: Mapping[str, Learner]) -> list[str]:
    """Those that have been judged and have not failed, the best first; of equal ones the earlier first."""
    known = [name for name in names if learners[name].progress.best_rank and learners[name].progress.failed is None]
    return sorted(known, key=lambda name: learners[name].progress.best_rank, reverse=True)


def best_of(track: Track, learners: Mapping[str, Learner]) -> str | None:
    """The candidate that survived longest, of several the best; None where none has a score."""
    most = max((learners[name].progress.rounds for name in ranked(track.names, learners)), default=0)
    return next(iter(ranked([name for name in track.names if learners[name].progress.rounds == most], learners)), None)
