"""What the search of `method: auto` may cost, and how it is divided.

The unit is a fit of AdaLayers as it is by default: all epochs, with their evaluations and the reading of layer states. The
search costs SEARCH of it, and training the best candidates as the config says at most LARGEST: three fits in all.

The candidates of a task are two tracks: *cheap* ones cost at most an eighth of AdaLayers (linear maps of pooled states do), all
others are *costly*. Each is halved by itself, as the one kind is at its end when the other has hardly begun. Cheap ones get
what they need to be trained to the end, but at most CHEAP_SHARE of their task's share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trunkline.training.auto.halving import Track, plan_rounds, to_the_end

SEARCH = 1.1
LARGEST = 1.9  # what a candidate may cost, in costs of AdaLayers; dearer ones are left out
CHEAP = 1 / 8
CHEAP_SHARE = 0.2


@dataclass(frozen=True)
class Price:
    """What a candidate costs: an `epoch` of training, and being `judged` on validation once."""

    epoch: float
    judged: float


@dataclass(frozen=True)
class Plan:
    """The tracks of all tasks; and the candidates that are too expensive, as they are called in the loop."""

    tracks: list[Track]
    dear: list[str]


def plan_search(
    prices: Mapping[str, Mapping[str, Price]], reference: Mapping[str, Price], reading: float, epochs: int, steps: int
) -> Plan:
    """Divide the budget.

    Args:
        prices: by task, of its candidates by what they are called in the loop.
        reference: by task, of AdaLayers as it is by default.
        reading: the layer states for an epoch, whoever reads them.
        epochs: of a fit.
        steps: of all these epochs.
    """
    fits = {task: epochs * (one.epoch + one.judged) for task, one in reference.items()}
    whole = sum(fits.values())
    spent = SEARCH * (whole + epochs * reading) - epochs * reading
    tracks, dear = [], []
    for task, own in prices.items():
        limit, share = reference[task].epoch, spent * fits[task] / whole
        dear += [name for name, price in own.items() if price.epoch > LARGEST * limit]
        cheap = {name: price for name, price in own.items() if price.epoch <= CHEAP * limit}
        costly = {name: price for name, price in own.items() if name not in cheap and name not in dear}
        costs = {
            kind: ([(price.epoch + price.judged) * epochs / steps for price in some], [price.judged for price in some])
            for kind, some in (("cheap", cheap.values()), ("costly", costly.values()))
        }
        for_cheap = min(to_the_end(*costs["cheap"], steps), CHEAP_SHARE * share) if costly else share
        for kind, some, budget in (("cheap", cheap, for_cheap), ("costly", costly, share - for_cheap)):
            if some:
                tracks.append(Track(task, kind, tuple(some), plan_rounds(*costs[kind], budget, steps)))
    return Plan(tracks, dear)
