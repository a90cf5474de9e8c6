"""Successive halving against what its rules say, written out."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.training.auto.budget import CHEAP, CHEAP_SHARE, LARGEST, SEARCH, Price, plan_search
from trunkline.training.auto.halving import Halving, Round, Track, best_of, plan_rounds
from trunkline.training.learner import Progress

COSTS = st.lists(st.integers(1, 40), min_size=1, max_size=6)


def affordable(steps, judged, count, days, quarter) -> bool:
    """Whether a quarter pays for so many steps of any `count` candidates, and for judging them."""
    return all(
        sum(steps[i] * days + judged[i] for i in some) <= quarter for some in itertools.combinations(range(len(steps)), count)
    )


@settings(max_examples=50, deadline=None)
@given(COSTS, st.integers(0, 4000), st.integers(1, 60))
def test_a_round_has_as_many_steps_as_a_quarter_pays_for_whoever_is_left(steps, budget, most):
    judged = [2 * cost for cost in steps]
    rounds = plan_rounds(steps, judged, budget, most)
    if sum(steps) * most + sum(judged) <= budget:
        assert rounds == (Round(most, 1),)
        return
    assert 1 <= len(rounds) <= 4
    count, before = len(steps), 0
    for number, one in enumerate(rounds):
        last = number + 1 == len(rounds)
        length = one.last - before
        assert length >= 1
        # The last may end where the training does; one step is the least, whatever it costs.
        assert affordable(steps, judged, count, length, budget / 4) or length == 1
        assert not affordable(steps, judged, count, length + 1, budget / 4) or one.last == most
        assert one.kept == (1 if last else math.ceil(count / 2))
        before, count = one.last, math.ceil(count / 2)
    assert before <= most and (before == most or len(rounds) == 4 or count == 1)


def judged_in_turn(tracks, scores, steps):
    """Drive the halving as the loop does: the learners in the end, what was told, and who was judged at each step."""
    learners = {name: SimpleNamespace(progress=Progress()) for track in tracks for name in track.names}
    told, looked = [], {}
    halving = Halving(tracks, lambda track, number, left: told.append((track.task, number, left)))
    for step in range(1, steps + 1):
        if due := halving.due(step, learners):
            looked[step] = due
            for name in due:
                progress = learners[name].progress
                progress.best_rank = max(progress.best_rank, [scores[name][step]])
            halving.cut(step, learners)
    return learners, told, looked


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 9))
def test_the_best_half_goes_on(draw, count):
    names = [f"c{number}" for number in range(count)]
    rounds = plan_rounds([1.0] * count, [0.0] * count, 6.0 * count, 40)
    scores = {name: draw.choices(range(6), k=41) for name in names}  # few values, so that there are ties
    learners, told, looked = judged_in_turn([Track("a", "costly", tuple(names), rounds)], scores, 40)
    left, best, survived = list(names), dict.fromkeys(names, -1), dict.fromkeys(names, 0)
    for number, one in enumerate(rounds, 1):
        assert looked[one.last] == left
        for name in left:
            best[name] = max(best[name], scores[name][one.last])
        order = sorted(range(len(left)), key=lambda place: (-best[left[place]], place))  # of equal ones the earlier
        kept = [left[place] for place in order[: one.kept]]
        assert told[number - 1] == ("a", number, kept)
        survived |= {name: survived[name] + 1 for name in kept}
        left = [name for name in left if name in kept]
    assert {name: one.progress.rounds for name, one in learners.items()} == survived
    assert all(one.progress.stopped for one in learners.values())
    assert best_of(Track("a", "costly", tuple(names), rounds), learners) == left[0]


def test_tracks_are_halved_apart_and_who_has_failed_is_left_out():
    tracks = [
        Track("a", "cheap", ("w", "x"), (Round(2, 1),)),
        Track("a", "costly", ("p", "q", "r"), (Round(1, 2), Round(4, 1))),
    ]
    learners = {name: SimpleNamespace(progress=Progress()) for track in tracks for name in track.names}
    halving = Halving(tracks, lambda *told: None)
    for name, rank in {"p": 3, "q": 2, "r": 1, "w": 0, "x": 5}.items():
        learners[name].progress.best_rank = [rank]
    learners["p"].progress.stopped, learners["p"].progress.failed = True, "the loss was no longer a number"
    assert halving.due(1, learners) == ["q", "r"]
    halving.cut(1, learners)
    assert [learners[name].progress.stopped for name in "qrwx"] == [False, False, False, False]
    halving.cut(2, learners)
    assert [learners[name].progress.stopped for name in "qrwx"] == [False, False, True, True]
    assert [best_of(track, learners) for track in tracks] == ["x", "q"]  # the second has not come to its end
    halving.cut(4, learners)
    assert learners["q"].progress.rounds == 2 and halving.due(5, learners) == []


def test_who_has_stopped_early_may_still_be_the_best():
    track = Track("a", "costly", ("p", "q"), (Round(3, 1), Round(9, 1)))
    learners = {name: SimpleNamespace(progress=Progress(best_rank=[rank])) for name, rank in (("p", 2), ("q", 1))}
    learners["p"].progress.stopped = True  # no better score in so many evaluations
    halving = Halving([track], lambda *told: None)
    assert halving.due(3, learners) == ["q"]
    halving.cut(3, learners)
    assert learners["q"].progress.stopped and best_of(track, learners) == "p"


PRICES = {"probe": 2, "mix": 4, "layer": 40, "ada": 100, "wide": 170, "routing": 2000}


@pytest.mark.parametrize("reading", [0.0, 50.0, 20000.0])
def test_the_search_keeps_to_its_budget(reading):
    epochs, steps = 8, 800
    prices = {task: {f"{n}/{task}": Price(c * s, c * s / 30) for n, c in PRICES.items()} for task, s in (("a", 1), ("b", 3))}
    reference = {task: own[f"ada/{task}"] for task, own in prices.items()}
    plan = plan_search(prices, reference, reading, epochs, steps)
    assert sorted(plan.dear) == ["routing/a", "routing/b"] and PRICES["wide"] < LARGEST * 100 < PRICES["routing"]
    kinds = {(track.task, track.kind): track for track in plan.tracks}
    assert kinds["a", "cheap"].names == ("probe/a", "mix/a") and PRICES["mix"] <= CHEAP * 100 < PRICES["layer"]
    assert kinds["b", "costly"].names == ("layer/b", "ada/b", "wide/b")
    spent, longest = 0.0, 0
    for (task, _), track in kinds.items():
        before, left = 0, len(track.names)
        for one in track.rounds:
            dearest = sorted((prices[task][name] for name in track.names), key=lambda price: -price.epoch)[:left]
            spent += sum((price.epoch + price.judged) * (one.last - before) * epochs / steps for price in dearest)
            before, left = one.last, math.ceil(left / 2)
        longest = max(longest, before)
    fit = epochs * (sum(one.epoch + one.judged for one in reference.values()) + reading)
    assert spent + reading * epochs * longest / steps <= SEARCH * fit
    # Linear maps cost next to nothing, and are trained to the end.
    assert all(kinds[task, "cheap"].rounds == (Round(steps, 1),) for task in "ab")
    share = kinds["a", "costly"].rounds[-1].last
    assert share == pytest.approx(kinds["b", "costly"].rounds[-1].last, abs=4)
    assert share == steps if reading > 1000 else 0 < share < steps


def test_cheap_candidates_that_are_many_are_halved_too():
    prices = {"a": {**{f"probe{n}/a": Price(12, 0) for n in range(16)}, "ada/a": Price(100, 0)}}
    [cheap, costly] = plan_search(prices, {"a": Price(100, 0)}, 0.0, 8, 800).tracks
    assert cheap.kind == "cheap" and [one.kept for one in cheap.rounds] == [8, 4, 2, 1]
    used = sum(
        count * (one.last - before) * 12 * 8 / 800
        for one, before, count in zip(cheap.rounds, [0, *(one.last for one in cheap.rounds)], [16, 8, 4, 2], strict=False)
    )
    assert used <= CHEAP_SHARE * SEARCH * 800
    assert costly.names == ("ada/a",) and len(costly.rounds) == 1
