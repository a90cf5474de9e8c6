"""Which candidates of a task are trained to the end, once the search has ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trunkline.errors import TrunklineError
from trunkline.training.auto.budget import TOTAL, Budget, Price
from trunkline.training.auto.family import Candidate, other_rates, references
from trunkline.training.auto.halving import Track, best_of, ranked
from trunkline.training.learner import Learner


@dataclass(frozen=True)
class Searched:
    """A task, and what the search has found of its candidates.

    Attributes:
        task: its name.
        tracks: in which its candidates were compared.
        candidates: by what the task is called in the loop for each.
        prices: theirs, likewise.
        learners: theirs, likewise, as the search has left them.
    """

    task: str
    tracks: Sequence[Track]
    candidates: Mapping[str, Candidate]
    prices: Mapping[str, Price]
    learners: Mapping[str, Learner]

    def finalists(self, budget: Budget, read: float, learning_rate: float | None) -> dict[str, Candidate]:
        """The best of each kind, "linear" and "deep", and as "deep 2" and so on what the rest of the budget pays for.

        Args:
            budget: of all tasks.
            read: for how many times all epochs layer states are read, the final training included.
            learning_rate: of all candidates; None: deep ones are trained at each of their rates.

        Raises:
            TrunklineError: all have failed.
        """
        best = self._best()
        left = budget.share(self.task, TOTAL, read) - sum(budget.trained(self.prices[key]) for key in best.values())
        left -= sum(
            budget.spent(self.prices[key], track.rounds, self.learners[key].progress.rounds)
            for track in self.tracks
            for key in track.names
        )
        found = {kind: self.candidates[key] for kind, key in best.items()}
        known = {one.name for one in found.values()}
        others = [pair for name, pair in self._others(budget, learning_rate).items() if name not in known]
        return found | {f"deep {number}": one for number, one in enumerate(budget.further(others, left), start=2)}

    def _best(self) -> dict[str, str]:
        """The best deep candidate, and the best linear one where that is ahead."""
        best = {track.kind: key for track in self.tracks if (key := best_of(track, self.learners)) is not None}
        if not best:
            raise TrunklineError(next(why for one in self.learners.values() if (why := one.progress.failed)))
        # Linear ones were trained to the end, or nearly: who is no better than a deep one is by then stays behind it.
        ranks = {kind: self.learners[key].progress.best_rank for kind, key in best.items()}
        if len(best) == 2 and ranks["linear"] <= ranks["deep"]:
            del best["linear"]
        return best

    def _others(self, budget: Budget, learning_rate: float | None) -> dict[str, tuple[Candidate, Price]]:
        """By name, what may be trained, too, in this order; none where there is no deep candidate with a score."""
        deep = [
            key
            for track in self.tracks
            if track.kind == "deep"
            for key in ranked(track.names, self.learners)
            if self.learners[key].progress.rounds
        ]
        if not deep:
            return {}
        # AdaLayers comes first: at the end it is often ahead of what is ahead after few steps.
        found = {one.name: (one, budget.reference[self.task]) for one in references(learning_rate)}
        for key in sorted(deep, key=lambda key: -self.learners[key].progress.rounds):  # stable: of equal ones the best first
            one = self.candidates[key]
            for each in (one, *other_rates(one, learning_rate)):
                found.setdefault(each.name, (each, self.prices[key]))
        return found
