"""What the search of `method: auto` may cost, and how it is divided.

The unit is a fit of AdaLayers as it is by default: all epochs, with their evaluations and the reading of layer states. All of
it costs TOTAL of that. The search costs SEARCH at most; what it has not spent, as its cheaper candidates were left, goes to the
final training. That has the best deep candidate, whose epoch costs LARGEST of one of AdaLayers at most, and as many others as
the rest pays for. A fit that stops early costs less than this unit.

The candidates of a task are of two kinds, which are halved apart, as they do not learn alike. *Linear* ones (a linear map of
states, or of their mixture) learn fast and are at their end when *deep* ones have hardly begun. Linear ones get what they need
to be trained to the end, but at most LINEAR_SHARE of their task's share; deep ones get the rest. Of each kind so many take
part, in the order of the family, that the first round is FIRST of a run at least: sooner, scores tell little.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from trunkline.training.auto.halving import Round, Track, count_rounds, plan_rounds, to_the_end

T = TypeVar("T")

TOTAL = 3.0
SEARCH = 1.4
LARGEST = 1.4  # what an epoch of a candidate may cost, in those of AdaLayers
LINEAR_SHARE = 0.2
FIRST = 1 / 20


@dataclass(frozen=True)
class Price:
    """What a candidate costs: an `epoch` of training, and being `judged` on validation once. `linear`: of that kind."""

    epoch: float
    judged: float
    linear: bool = False

    @property
    def whole(self) -> float:
        """What an epoch costs, with its evaluations: deep candidates are judged at the ends of rounds alone."""
        return self.epoch + self.judged if self.linear else self.epoch


@dataclass(frozen=True)
class Budget:
    """What fits of AdaLayers pay for.

    Attributes:
        reference: by task, the price of AdaLayers as it is by default.
        reading: the layer states for an epoch, whoever reads them.
        epochs: of a fit.
        steps: of all these epochs.
    """

    reference: Mapping[str, Price]
    reading: float
    epochs: int
    steps: int

    def share(self, task: str, fits: float, read: float) -> float:
        """What is left to a task of `fits` fits for all, of which layer states are read for `read` times all epochs."""
        costs = {name: self.trained(price) for name, price in self.reference.items()}
        whole, reading = sum(costs.values()), self.epochs * self.reading
        return (fits * (whole + reading) - read * reading) * costs[task] / whole

    def trained(self, price: Price) -> float:
        """What training to the end costs, judged after each epoch."""
        return self.epochs * (price.epoch + price.judged)

    def spent(self, price: Price, rounds: Sequence[Round], survived: int) -> float:
        """What the search has spent on a candidate that has survived so many rounds of its track."""
        seen = rounds[: survived + 1]
        looks = 0.0 if price.linear else len(seen) * price.judged
        return price.whole * self.epochs * seen[-1].last / self.steps + looks

    def further(self, prices: Iterable[tuple[T, Price]], left: float) -> list[T]:
        """Which candidates are trained to the end, too: of those in this order, all that what is left pays for."""
        found = []
        for one, price in prices:
            if (cost := self.trained(price)) <= left:
                found.append(one)
                left -= cost
        return found


@dataclass(frozen=True)
class Plan:
    """The tracks of all tasks; and the candidates that do not take part, as they are called in the loop, and why."""

    tracks: list[Track] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def plan_search(prices: Mapping[str, Mapping[str, Price]], budget: Budget) -> Plan:
    """Divide what the search may cost.

    Args:
        prices: by task, of its candidates by what they are called in the loop, in the order of the family.
        budget: of all tasks.
    """
    plan = Plan()
    for task, own in prices.items():
        standard = budget.reference[task].epoch
        limit, left = LARGEST * standard, budget.share(task, SEARCH, read=1)
        fitting = {name: price for name, price in own.items() if price.epoch <= limit}
        plan.left_out.update(
            {
                name: f"an epoch costs {price.epoch / standard:.1f} times as much as one of AdaLayers"
                for name, price in own.items()
                if name not in fitting
            }
        )
        linear = {name: price for name, price in fitting.items() if price.linear}
        deep = {name: price for name, price in fitting.items() if not price.linear}
        for kind, some in (("linear", linear), ("deep", deep)):
            part = LINEAR_SHARE * left if some is linear and deep else left
            chosen, rounds, cost = _track(some, part, budget.epochs, budget.steps)
            plan.left_out.update(
                {name: f"the budget pays for {len(chosen)} {kind} candidates" for name in some if name not in chosen}
            )
            if chosen:
                plan.tracks.append(Track(task, kind, tuple(chosen), rounds))
            left -= cost
    return plan


def _track(
    prices: Mapping[str, Price], budget: float, epochs: int, steps: int
) -> tuple[Sequence[str], tuple[Round, ...], float]:
    """The candidates that take part, their rounds, and what these cost at most."""
    names = list(prices)
    for count in range(len(names), 0, -1):
        each = [prices[name].whole * epochs / steps for name in names[:count]]
        looks = [prices[name].judged for name in names[:count]]
        need = to_the_end(each, looks, steps)
        first = (budget / count_rounds(count) - sum(looks)) / sum(each)
        if need <= budget or first >= FIRST * steps or count <= 2:
            return names[:count], plan_rounds(each, looks, budget, steps), min(need, budget)
    return [], (), 0.0
